"""Whole files: what a good one becomes, and every fault of a bad one, at its place."""

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config import Config, ConfigError, RateLimit, Timeouts, load

HEAD = "version: 1\nservices: {a: {url: 'http://a'}}\nroutes:\n"


def read(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, environ or {})


def faults(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text, environ)
    assert str(refused.value) == "\n".join(map(str, refused.value.faults))
    return [str(fault).removeprefix(f"{tmp_path}/gateway.yaml:") for fault in refused.value.faults]


def timeouts(connect: str, total: str) -> Timeouts:
    return Timeouts.model_validate({"connect": connect, "total": total})


def route(**keys: str) -> str:
    """Return one route, its keys in lines 4 (path), 5 (service), 6 (allow), and then those given."""
    keys = {"path": "/x", "service": "a", "allow": "public"} | keys
    return HEAD + "  - " + "\n    ".join(f"{key}: {value}" for key, value in keys.items()) + "\n"


def test_a_route_without_more_gets_every_default(tmp_path: Path) -> None:
    (only,) = read(tmp_path, route()).routes
    assert only.methods == ("GET", "POST", "PUT", "PATCH", "DELETE")
    assert only.timeouts == timeouts("1000ms", "10000ms")
    assert (only.max_body, only.rate_limit, only.browser, only.allow) == (1048576, None, "api", "public")


def test_what_is_nearer_to_the_route_wins_key_by_key(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
version: 1
defaults: {timeouts: {connect: 250ms, total: 20s}, max_body: 2KiB}
services:
  a: {url: http://a, timeouts: {total: 30s}}
  b: {url: http://b}
routes:
  - {path: /1, service: a, allow: public, timeouts: {connect: 2s}, max_body: 5}
  - {path: /2, service: a, allow: public}
  - {path: /3, service: b, allow: public}
""",
    )
    assert [(each.timeouts.connect, each.timeouts.total, each.max_body) for each in config.routes] == [
        (2.0, 30.0, 5),
        (0.25, 30.0, 2048),
        (0.25, 20.0, 2048),
    ]
    assert config.services["a"].timeouts == timeouts("250ms", "30000ms")
    assert config.services["b"].timeouts == timeouts("250ms", "20000ms")


def test_a_loaded_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = read(tmp_path, route())
    for section in config, config.routes[0], config.routes[0].timeouts, config.services["a"], config.defaults:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, next(iter(type(section).model_fields)), None)


def test_optional_sections_are_absent_by_default(tmp_path: Path) -> None:
    config = read(tmp_path, route())
    assert (config.versions, config.login, config.current_version) == (None, None, None)


def test_optional_sections_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, route() + "versions: {current: v2}\nlogin: {service: a}\n")
    assert config.login is not None
    assert (config.current_version, config.login.service) == ("v2", "a")


@pytest.mark.parametrize(
    ("key", "written", "field", "value"),
    [
        ("allow", "authenticated", "allow", "authenticated"),
        ("allow", "[admin, Team_2]", "allow", ("admin", "Team_2")),
        ("allow", '["yes"]', "allow", ("yes",)),
        ("rate_limit", "7/second", "rate_limit", RateLimit(7, 1.0)),
        ("rate_limit", "120/minute", "rate_limit", RateLimit(120, 60.0)),
        ("rate_limit", "1/hour", "rate_limit", RateLimit(1, 3600.0)),
        ("rate_limit", "5000/day", "rate_limit", RateLimit(5000, 86400.0)),
        ("methods", "[HEAD, OPTIONS]", "methods", ("HEAD", "OPTIONS")),
        ("max_body", "0", "max_body", 0),
        ("max_body", '"17"', "max_body", 17),
        ("max_body", "17B", "max_body", 17),
        ("max_body", "3KB", "max_body", 3000),
        ("max_body", "3KiB", "max_body", 3072),
        ("max_body", "100MB", "max_body", 100_000_000),
        ("max_body", "1GB", "max_body", 10**9),
        ("max_body", "1GiB", "max_body", 2**30),
        ("timeouts", "{total: 60m}", "timeouts", timeouts("1000ms", "3600000ms")),
        ("timeouts", "{connect: 1.5s}", "timeouts", timeouts("1500ms", "10000ms")),
        ("timeouts", "{connect: 20ms}", "timeouts", timeouts("20ms", "10000ms")),
        ("browser", "passthrough", "browser", "passthrough"),
    ],
)
def test_a_value_becomes_what_it_means(tmp_path: Path, key: str, written: str, field: str, value: object) -> None:
    found = getattr(read(tmp_path, route(**{key: written})).routes[0], field)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("written", ["10/second", "120/minute", "1000/hour", "5000/day"])
def test_a_rate_is_shown_as_it_is_written(tmp_path: Path, written: str) -> None:
    assert str(read(tmp_path, route(rate_limit=written)).routes[0].rate_limit) == written


@pytest.mark.parametrize(
    "url",
    [
        "http://a", "https://a.example", "http://my_service:8002", "http://127.0.0.1:1", "http://[::1]:65535",
        "http://a/base/path", "http://a:8/v1",
    ],
)  # fmt: skip
def test_an_url_names_where_a_service_is(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f"version: 1\nservices: {{a: {{url: '{url}'}}}}\nroutes: []\n").services["a"].url == (url,)


def test_a_service_may_have_several_addresses(tmp_path: Path) -> None:
    service = read(tmp_path, "version: 1\nroutes: []\nservices: {a: {url: ['http://b', 'http://a'], health: /h/}}\n")
    assert (service.services["a"].url, service.services["a"].health) == (("http://b", "http://a"), "/h/")


URL_EXPECTED = (
    "expected an http or https URL of a host, an optional port and an optional path without a slash at its end, "
    "such as http://127.0.0.1:8002"
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://a", "'ftp://a'"),
        ("a:8002", "'a:8002'"),
        ("http://", "'http://'"),
        ("http://a/", "'http://a/'"),
        ("http://a//b", "'http://a//b'"),
        ("http://a/../b", "'http://a/../b'"),
        ("http://a/b%20c", "'http://a/b%20c'"),
        ("http://a?x=1", "'http://a?x=1'"),
        ("http://a#x", "'http://a#x'"),
        ("http://a:0", "'http://a:0'"),
        ("http://a:65536", "'http://a:65536'"),
        ("http://[::g]", "'http://[::g]'"),
        ("http://[1:2]", "'http://[1:2]'"),
        ("http://me:secret@a", "'http://…@a'"),
        ("http://a b", "'http://a b'"),
        ("http://a\\nHost: b", "'http://a\\nHost: b'"),
    ],
)
def test_an_url_that_names_more_or_less_is_a_fault(tmp_path: Path, url: str, shown: str) -> None:
    text = f'version: 1\nservices:\n  a: {{url: "{url}"}}\nroutes: []\n'
    assert faults(tmp_path, text) == [f"3:12: got {shown}; {URL_EXPECTED}"]


def test_each_of_several_addresses_is_checked(tmp_path: Path) -> None:
    text = "version: 1\nroutes: []\nservices:\n  a:\n    url:\n      - http://a\n      - b\n      - c\n"
    assert faults(tmp_path, text) == [f"7:9: got 'b'; {URL_EXPECTED}", f"8:9: got 'c'; {URL_EXPECTED}"]


DURATION = "a duration such as 250ms, 1s or 2m, more than 0 and at most 60m"
SIZE = "a size such as 512KiB, 1MiB, 100MB or a number of bytes"
RATE = "a rate such as 10/second, 120/minute, 1000/hour or 5000/day"
ALLOW = "public, authenticated, or a list of roles such as [admin]"
METHODS = "one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
ROLE = "a role: a letter, then letters, digits, - and _"
ROUTE_KEYS = "one of `path`, `methods`, `service`, `allow`, `rate_limit`, `timeouts`, `max_body`, `browser`"
YAML_1_1_BOOLEAN = "quotes around it if text is meant: some read it as true or false"
YAML_1_1_NUMBER = "a plain decimal number, or quotes around it if text is meant"


@pytest.mark.parametrize(
    ("key", "written", "found", "expected"),
    [
        ("allow", "Public", "12: got 'Public'", ALLOW),
        ("allow", "admin", "12: got 'admin'", ALLOW),
        ("allow", "true", "12: got true", ALLOW),
        ("allow", "{admin: 1}", "12: got a mapping", ALLOW),
        ("allow", "[]", "12: got a list", "at least one entry"),
        ("allow", "[admin, admin]", "12: got a list", "each entry once; admin is there more often"),
        ("allow", "[admin, public]", "20: got 'public'", "a role; to allow more than roles, write allow: public"),
        ("allow", "[authenticated]", "13: got 'authenticated'",
         "a role; to allow more than roles, write allow: authenticated"),
        ("allow", "[a b]", "13: got 'a b'", ROLE),
        ("allow", "[[admin]]", "13: got a list", ROLE),
        ("allow", "[7]", "13: got 7", ROLE),
        ("allow", "yes", "12: got yes", YAML_1_1_BOOLEAN),
        ("allow", "[OFF]", "13: got OFF", YAML_1_1_BOOLEAN),
        ("allow", "~", "12: got nothing", "a value; leave the key out where none is meant"),
        ("allow", "!!str public", "12: got the tag tag:yaml.org,2002:str", "a value without a tag"),
        ("methods", "[]", "14: got a list", "at least one entry"),
        ("methods", "GET", "14: got 'GET'", "a list"),
        ("methods", "[get]", "15: got 'get'", f"{METHODS}; did you mean GET?"),
        ("methods", "[GET, TRACE]", "20: got 'TRACE'", METHODS),
        ("methods", "[CONNECT]", "15: got 'CONNECT'", METHODS),
        ("methods", "[GET, PUT, GET]", "14: got a list", "each entry once; GET is there more often"),
        ("methods", "[{GET: 1}]", "15: got a mapping", METHODS),
        ("rate_limit", "0/minute", "17: got '0/minute'", RATE),
        ("rate_limit", "1/week", "17: got '1/week'", RATE),
        ("rate_limit", "120", "17: got 120", RATE),
        ("rate_limit", "", "16: got nothing", "a value; leave the key out where none is meant"),
        ("max_body", "1 MiB", "15: got '1 MiB'", SIZE),
        ("max_body", "1mib", "15: got '1mib'", SIZE),
        ("max_body", "-1", "15: got -1", SIZE),
        ("max_body", "1.5", "15: got '1.5'", SIZE),
        ("max_body", "true", "15: got true", SIZE),
        ("max_body", "[1]", "15: got a list", SIZE),
        ("max_body", "010", "15: got 010", YAML_1_1_NUMBER),
        ("max_body", "0x10", "15: got 0x10", YAML_1_1_NUMBER),
        ("max_body", "1_000", "15: got 1_000", YAML_1_1_NUMBER),
        ("max_body", "1:30", "15: got 1:30", YAML_1_1_NUMBER),
        ("max_body", "9" * 90, "15: got '" + "9" * 79 + "…", SIZE),
        ("timeouts", "1s", "15: got '1s'", "a mapping"),
        ("timeouts", "{total: 10}", "23: got 10", DURATION),
        ("timeouts", "{total: 0s}", "23: got '0s'", DURATION),
        ("timeouts", "{total: 61m}", "23: got '61m'", DURATION),
        ("timeouts", "{total: 1h}", "23: got '1h'", DURATION),
        ("timeouts", "{total: -1s}", "23: got '-1s'", DURATION),
        ("timeouts", "{totl: 1s}", "16: got 'totl'", "one of `connect`, `total`; did you mean `total`?"),
        ("browser", "html", "14: got 'html'", "'api' or 'passthrough'"),
        ("service", "b", "14: got 'b'", "a service that is defined: a"),
        ("service", "[a]", "14: got a list", "the name of a service"),
        ("path", "[/x]", "11: got a list", "a path such as /api/users/{id}"),
        ("path", "x", "11: got 'x'", "a path that starts with /"),
        ("metods", "[GET]", "5: got 'metods'",
         f"{ROUTE_KEYS}; did you mean `methods`?"),
        ("zzz", "1", "5: got 'zzz'", ROUTE_KEYS),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_fault_at_its_place(
    tmp_path: Path, key: str, written: str, found: str, expected: str
) -> None:
    line = {"path": 4, "service": 5, "allow": 6}.get(key, 7)
    assert faults(tmp_path, route(**{key: written})) == [f"{line}:{found}; expected {expected}"]


@pytest.mark.parametrize("key", ["path", "service", "allow"])
def test_what_a_route_must_say_has_no_default(tmp_path: Path, key: str) -> None:
    lines = {"path": "path: /x", "service": "service: a", "allow": "allow: public"}
    del lines[key]
    (found,) = faults(tmp_path, HEAD + "  - methods: [GET]\n    " + "\n    ".join(lines.values()) + "\n")
    assert found.startswith(f"4:5: got no `{key}`; expected one here. ")


def test_a_missing_key_is_reported_at_the_key_it_belongs_under(tmp_path: Path) -> None:
    found = faults(tmp_path, "version: 1\nservices:\n  a:\n    health: /h\nroutes: []\nversions: {}\nlogin: {}\n")
    assert [each.partition("; ")[0] for each in found] == [
        "3:3: got no `url`",
        "6:1: got no `current`",
        "7:1: got no `service`",
    ]


def test_missing_sections_are_reported_at_the_start(tmp_path: Path) -> None:
    found = faults(tmp_path, "defaults: {}\n")
    assert [each.partition("; ")[0] for each in found] == [
        "1:1: got no `version`",
        "1:1: got no `services`",
        "1:1: got no `routes`",
    ]


@pytest.mark.parametrize("version", ["2", "true", "'1'", "1.0", "[1]"])
def test_only_version_1_of_the_format_is_known(tmp_path: Path, version: str) -> None:
    (found,) = faults(tmp_path, route().replace("version: 1", f"version: {version}"))
    assert found.startswith("1:10: got ")
    assert found.endswith("; expected 1, the only version of the format")


@pytest.mark.parametrize("name", ["A", "1a", "a_b", "-a", "a.b", "a" * 64])
def test_a_services_name_is_checked_at_its_key(tmp_path: Path, name: str) -> None:
    (found,) = faults(tmp_path, f"version: 1\nroutes: []\nservices:\n  {name}: {{url: http://a}}\n")
    assert found == (
        f"4:3: got '{name}'; expected a service's name: a lower-case letter, then lower-case letters, digits and -"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("openapi", "openapi.json"), ("health", "/a//b"), ("health", "/../x"), ("openapi", "/a?b")]
)
def test_a_services_own_path_is_checked(tmp_path: Path, key: str, value: str) -> None:
    (found,) = faults(tmp_path, f"version: 1\nroutes: []\nservices:\n  a:\n    url: http://a\n    {key}: {value}\n")
    assert found == f"6:{len(key) + 7}: got '{value}'; expected a path of the service's own, such as /openapi.json"


@pytest.mark.parametrize("version", ["1", "V1", "v0", "v1.0", "users"])
def test_a_version_is_checked(tmp_path: Path, version: str) -> None:
    (found,) = faults(tmp_path, route() + f"versions: {{current: {version}}}\n")
    assert found.startswith("7:21: got ")
    assert found.endswith("; expected a version such as v1")


def test_a_login_service_that_nobody_defined_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "version: 1\nservices: {}\nroutes: []\nlogin: {service: users}\n") == [
        "4:18: got 'users'; expected a service that is defined: none is"
    ]


def test_unknown_keys_are_told_what_their_own_section_knows(tmp_path: Path) -> None:
    text = """
version: 1
rutes: []
defaults: {max_bodi: 1, timeouts: {x: 1s}}
services:
  timeouts: {url: http://a, ulr: http://b}
versions: {curent: v1, current: v1}
login: {servise: timeouts, service: timeouts}
routes: []
"""
    sections = "`version`, `defaults`, `services`, `versions`, `login`, `routes`"
    assert faults(tmp_path, text) == [
        f"3:1: got 'rutes'; expected one of {sections}; did you mean `routes`?",
        "4:12: got 'max_bodi'; expected one of `timeouts`, `max_body`; did you mean `max_body`?",
        "4:36: got 'x'; expected one of `connect`, `total`",
        "6:29: got 'ulr'; expected one of `url`, `openapi`, `health`, `timeouts`; did you mean `url`?",
        "7:12: got 'curent'; expected one of `current`; did you mean `current`?",
        "8:9: got 'servise'; expected one of `service`; did you mean `service`?",
    ]


def test_every_fault_of_a_file_is_reported_in_its_order(tmp_path: Path) -> None:
    text = """\
version: 1
services:
  A: {url: http://a}
  b: {url: "${NOWHERE}"}
routes:
  - path: /api/login
    service: nobody
    allow: [admin, on]
  - {path: /b/{x}, service: b, allow: public}
""".replace("/b/{x}", "'/b/{x}'")
    text += "  - {path: '/b/{y}', service: b, allow: admin, methods: [GET, FOO]}\n  - 7\n  - *alias\n"
    found = faults(tmp_path, text)
    assert [each.partition(": got")[0] for each in found] == [
        "3:3", "4:12", "6:11", "7:14", "8:20", "10:12", "10:41", "10:63", "11:5", "12:5"
    ]  # fmt: skip
    assert found[8] == "11:5: got 7; expected a mapping"


def test_a_value_that_cannot_be_read_is_not_reported_twice(tmp_path: Path) -> None:
    text = "version: *a\nservices: *b\nroutes: *c\ndefaults: {max_body: *d, timeouts: *e}\n"
    found = faults(tmp_path, text)
    assert [each.partition(";")[0] for each in found] == [
        f"{place}: got the alias *{name}"
        for place, name in [("1:10", "a"), ("2:11", "b"), ("3:9", "c"), ("4:22", "d"), ("4:36", "e")]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: got an empty file; expected a mapping with `version`, `services` and `routes`"]),
        ("# only\n\n", ["1:1: got an empty file; expected a mapping with `version`, `services` and `routes`"]),
        ("---\n", ["2:1: got nothing; expected a value; leave the key out where none is meant"]),
        ("7\n", ["1:1: got 7; expected a mapping"]),
        ("[1]\n", ["1:1: got a list; expected a mapping"]),
        ("version: 1\n---\nversion: 1\n", ["2:1: got a second document; expected one document"]),
        (b"version: 1\nroutes: \xff\n", ["2:9: got the byte 0xff; expected UTF-8"]),
        ("version: 1\nx: '\x00'\n", ["2:5: got the character U+0000; expected printable text"]),
        ("\x1b", ["1:1: got the character U+001B; expected printable text"]),
        ("x:\n" + "  [" * 40 + "]" * 40, ["2:48: got more than 16 levels of nesting; expected fewer"]),
    ],
)
def test_what_is_no_mapping_in_one_utf_8_document_is_a_fault(
    tmp_path: Path, text: str | bytes, expected: list[str]
) -> None:
    assert faults(tmp_path, text) == expected


def test_a_very_deep_file_is_a_fault(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, "[" * 50_000)
    assert found == "1:17: got more than 16 levels of nesting; expected fewer"


@pytest.mark.parametrize(
    ("text", "place"),
    [("version: 1\n\troutes: []\n", "2:1"), ("routes: [\n", "2:1"), ("a: b: c\n", "1:5"), ("x: 'open\n", "2:1")],
)
def test_a_syntax_error_is_reported_where_it_is(tmp_path: Path, text: str, place: str) -> None:
    (found,) = faults(tmp_path, text)
    assert found.startswith(f"{place}: got invalid YAML: ")
    assert found.endswith("; expected YAML 1.2")


def test_a_syntax_error_does_not_hide_what_was_found_before(tmp_path: Path) -> None:
    found = faults(tmp_path, "version: 010\nroutes: [\n")
    assert [each.partition(": got")[0] for each in found] == ["1:10", "3:1"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + route().encode()).version == 1


def test_a_key_that_is_there_twice_is_a_fault_at_the_second(tmp_path: Path) -> None:
    assert faults(tmp_path, route() + "version: 1\n") == [
        "7:1: got 'version' a second time; expected each key once; the first is in line 1"
    ]


def test_a_key_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, route() + "? [a]\n: 1\n") == ["7:3: got a key that is not text; expected text"]


def test_a_file_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    started = time.monotonic()
    found = faults(tmp_path, laughs)
    assert sum("got the alias" in each for each in found) == 72
    assert time.monotonic() - started < 2


def test_a_merge_key_is_no_key(tmp_path: Path) -> None:
    found = faults(tmp_path, route() + "    <<: {browser: api}\n")
    assert found[0].startswith("7:5: got '<<'; expected one of `path`")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "directory"])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, make: object) -> None:
    path = tmp_path / "gateway.yaml"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    (fault,) = refused.value.faults
    assert (fault.file, fault.line, fault.column, fault.expected) == (str(path), 1, 1, "a file that can be read")
    assert fault.value in {"No such file or directory", "Is a directory"}


def test_a_thousand_routes_load_within_a_second_or_so(tmp_path: Path) -> None:
    text = HEAD + "".join(
        f"  - path: /api/s{n}/{{id}}/x\n    methods: [GET, POST]\n    service: a\n    allow: [admin]\n"
        for n in range(1000)
    )
    started = time.process_time()
    assert len(read(tmp_path, text).routes) == 1000
    assert time.process_time() - started < 2


def test_a_thousand_routes_that_all_conflict_are_a_thousand_faults(tmp_path: Path) -> None:
    text = HEAD + "".join(f"  - {{path: '/x/{{p{n}}}/x', service: a, allow: public}}\n" for n in range(1000))
    started = time.process_time()
    found = faults(tmp_path, text)
    assert len(found) == 999
    assert all("in line 4 matches" in each for each in found)
    assert time.process_time() - started < 4
