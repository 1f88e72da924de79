"""What each key may say, and the fault of each thing that it may not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route, timeouts

from gateway.config import Config, ConfigError, HealthCheck, Policies, RateLimit
from gateway.config.document import DocumentReader
from gateway.config.header_rules import HeaderRules
from gateway.config.section import Section


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
        ("rate_limit", "[]", "rate_limit", ()),
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
def test_a_value_is_parsed(tmp_path: Path, key: str, written: str, field: str, value: object) -> None:
    found = getattr(read(tmp_path, route(**{key: written})).routes[0], field)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("written", ["10/second", "120/minute", "1000/hour", "5000/day"])
def test_a_rate_is_printed_as_it_is_written(tmp_path: Path, written: str) -> None:
    assert str(read(tmp_path, route(rate_limit=written)).routes[0].rate_limit) == written


@pytest.mark.parametrize(
    "url",
    [
        "http://a", "https://a.example", "http://my_service:8002", "http://127.0.0.1:1", "http://[::1]:65535",
        "http://a/base/path", "http://a:8/v1",
    ],
)  # fmt: skip
def test_a_url_gives_host_port_and_base_path(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f"version: 1\nservices: {{a: {{url: '{url}'}}}}\nroutes: []\n").services["a"].url == (url,)


def test_a_service_may_have_several_addresses(tmp_path: Path) -> None:
    service = read(tmp_path, "version: 1\nroutes: []\nservices: {a: {url: ['http://b', 'http://a'], health: /h/}}\n")
    assert (service.services["a"].url, service.services["a"].health) == (
        ("http://b", "http://a"),
        HealthCheck(path="/h/"),
    )


def test_a_check_of_health_has_defaults_of_its_own(tmp_path: Path) -> None:
    text = "version: 1\nroutes: []\nservices: {a: {url: http://b, health: {path: /h, interval: 1s, unhealthy: 1}}}\n"
    check = read(tmp_path, text).services["a"].health
    assert check is not None
    assert (check.path, check.interval, check.timeout, check.healthy, check.unhealthy) == ("/h", 1.0, 1.0, 2, 1)


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ("h", "a path of the service's own"),
        ("{interval: 1s}", "`path` is missing"),
        ("{path: /h, healthy: 0}", "from 1"),
    ],
)
def test_a_check_of_health_is_checked(tmp_path: Path, health: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, f"version: 1\nroutes: []\nservices: {{a: {{url: http://b, health: {health}}}}}\n")


def test_an_address_may_have_a_weight(tmp_path: Path) -> None:
    text = "version: 1\nroutes: []\nservices: {a: {url: [http://b, {url: http://c, weight: 3}, {url: http://d}]}}\n"
    urls = read(tmp_path, text).services["a"].url
    assert [(url, url.weight) for url in urls] == [("http://b", 1), ("http://c", 3), ("http://d", 1)]


def test_a_service_whose_addresses_have_other_weights_is_another_one(tmp_path: Path) -> None:
    # By this comparison a changed gateway.yaml keeps the connections to a service, or takes up the new weights.
    text = "version: 1\nroutes: []\nservices: {a: {url: [http://b, {url: http://c, weight: 3}]}}\n"
    first, same, other = (read(tmp_path, each).services["a"] for each in (text, text, text.replace("3", "2")))
    assert first == same
    assert first != other
    assert first.url != other.url
    assert first.url[1] != other.url[1]
    assert first.url[0] == other.url[0] == "http://b"


@pytest.mark.parametrize("weight", ["0", "101", "1.5", "-1", "true", "x", "[1]"])
def test_a_weight_is_a_number_from_1_to_100(tmp_path: Path, weight: str) -> None:
    with pytest.raises(ConfigError, match="a weight from 1 to 100"):
        read(tmp_path, f"version: 1\nroutes: []\nservices: {{a: {{url: [{{url: 'http://b', weight: {weight}}}]}}}}\n")


@pytest.mark.parametrize("entry", ["{weight: 1}", "{url: http://b, wait: 1}", "{}"])
def test_an_address_is_a_url_or_a_mapping_with_one(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match="weight: 2"):
        read(tmp_path, f"version: 1\nroutes: []\nservices: {{a: {{url: [{entry}]}}}}\n")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("failures: 0", "a number from 1 to 1000"), ("on: []", "at least one cause"), ("on: [4xx]", "one of connect"),
        ("most: 50", "a percentage"), ("most: 101%", "a percentage"), ("rest: 0s", "a duration"),
    ],
)  # fmt: skip
def test_a_policy_of_ejection_is_checked(tmp_path: Path, keys: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, f"version: 1\nroutes: []\nservices: {{}}\ndefaults: {{eject: {{{keys}}}}}\n")


def test_a_service_s_ejection_is_merged_with_that_of_the_defaults(tmp_path: Path) -> None:
    text = "version: 1\nroutes: []\nservices: {a: {url: http://b, eject: {failures: 2}}}\n"
    eject = read(tmp_path, text + "defaults: {eject: {failures: 9, rest: 1s, most: 100%}}\n").services["a"].eject
    assert (eject.failures, eject.rest, eject.most, eject.max_rest) == (2, 1.0, 1.0, 300.0)
    assert eject.on == ("connect", "reset", "timeout")


def test_a_route_has_no_ejection_of_its_own(tmp_path: Path) -> None:
    route = "routes: [{path: /x, service: a, allow: public, eject: {failures: 2}}]"
    with pytest.raises(ConfigError, match="unknown key"):
        read(tmp_path, f"version: 1\n{route}\nservices: {{a: {{url: http://b}}}}\n")


URL_EXPECTED = (
    "expected an http or https URL of a host, an optional port and an optional path without a slash at its end, "
    "such as http://127.0.0.1:8002"
)


@pytest.mark.parametrize(
    ("url", "write"), [("localhost:8002", "http://localhost:8002"), ("b", "http://b"), ("http://a/", "http://a")]
)
def test_a_fault_suggests_the_url_that_may_be_meant(tmp_path: Path, url: str, write: str) -> None:
    text = f"version: 1\nservices:\n  a: {{url: '{url}'}}\nroutes: []\n"
    assert faults(tmp_path, text) == [f"3:12: got '{url}'; {URL_EXPECTED}; write url: {write}"]


@pytest.mark.parametrize(
    ("line", "write"),
    [
        ("version: '1'", "version: 1"),
        ("versions: v2", "versions: {current: v2}"),
        ("versions: {current: 2}", "current: v2"),
        ("login: a", "login: {service: a}"),
        ("defaults: {timeouts: 5}", "timeouts: {total: 5s}"),
        ("defaults: {timeouts: {connect: 1}}", "connect: 1s"),
    ],
)
def test_faults_of_other_keys_suggest_a_value_too(tmp_path: Path, line: str, write: str) -> None:
    text = route() if not line.startswith("version:") else route().partition("\n")[2]
    (found,) = faults(tmp_path, text + line + "\n")
    assert found.endswith(f"; write {write}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://a", "'ftp://a'"),
        ("http://", "'http://'"),
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
def test_a_url_with_missing_or_extra_parts_is_a_fault(tmp_path: Path, url: str, shown: str) -> None:
    text = f'version: 1\nservices:\n  a: {{url: "{url}"}}\nroutes: []\n'
    assert faults(tmp_path, text) == [f"3:12: got {shown}; {URL_EXPECTED}"]


def test_each_of_several_addresses_is_checked(tmp_path: Path) -> None:
    text = "version: 1\nroutes: []\nservices:\n  a:\n    url:\n      - http://a\n      - b\n      - c\n"
    assert faults(tmp_path, text) == [f"7:9: got 'b'; {URL_EXPECTED}", f"8:9: got 'c'; {URL_EXPECTED}"]


DURATION = "a duration such as 250ms, 1s or 2m, more than 0 and at most 60m"
SIZE = "a size such as 512KiB, 1MiB, 100MB or a number of bytes"
SEGMENTS = (
    "segments of letters, digits and -._~!$&'()*+,=:@ without percent-encoding and path parameters, "
    "or a whole {name} or {name...}, the name an identifier"
)
A_RATE = "a rate such as 10/second, 120/minute, 1000/hour or 5000/day"
RATE = f"{A_RATE}, or the name of a limit, or a list of names"
A_BURST = "a number of requests, more than 0 and less than 1,000,000,000"
A_LIMIT_NAME = "a limit's name: a lower-case letter, then lower-case letters, digits, _ and -"
COUNTED_BY = "user, address, header:NAME or param:NAME"
ALLOW = "public, authenticated, or a list of roles such as [admin]"
METHODS = "one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
ROLE = "a role: a letter, then letters, digits, - and _"
OWN_KEYS = ("path", "methods", "rewrite", "service", "allow", "websocket", "browser")
ROUTE_KEYS = f"The keys here are {', '.join(f'`{key}`' for key in (*OWN_KEYS, *Policies.model_fields))}."
YAML_1_1_NUMBER = "a plain decimal number, or quotes around it if text is meant"


@pytest.mark.parametrize(
    ("key", "written", "found", "expected"),
    [
        ("allow", "Public", "12: got 'Public'", f"{ALLOW}; write allow: public"),
        ("allow", "pubic", "12: got 'pubic'", f"{ALLOW}; write allow: public"),
        ("allow", "authentcated", "12: got 'authentcated'", f"{ALLOW}; write allow: authenticated"),
        ("allow", "admin", "12: got 'admin'", f"{ALLOW}; write allow: [admin]"),
        ("allow", "everyone", "12: got 'everyone'", f"{ALLOW}; write allow: public"),
        ("allow", "a b", "12: got 'a b'", ALLOW),
        ("allow", "true", "12: got true", ALLOW),
        ("allow", "{admin: 1}", "12: got a mapping", ALLOW),
        ("allow", "[]", "12: got a list", "at least one role, such as [admin], or public or authenticated"),
        ("allow", "[admin, admin]", "12: got a list", "each entry once; admin is there more often"),
        ("allow", "[admin, public]", "20: got 'public'", "a role; to allow more than roles, write allow: public"),
        ("allow", "[authenticated]", "13: got 'authenticated'",
         "a role; to allow more than roles, write allow: authenticated"),
        ("allow", "[a b]", "13: got 'a b'", ROLE),
        ("allow", "[[admin]]", "13: got a list", ROLE),
        ("allow", "[7]", "13: got 7", ROLE),
        ("allow", "yes", "12: got yes", ALLOW),
        ("allow", "[OFF]", "13: got OFF", "true or false; write false, or 'OFF' in quotes if text is meant"),
        ("validate", "on", "15: got on", "skip, report or enforce"),
        ("validate", "off", "15: got off", "skip, report or enforce"),
        ("validate", "true", "15: got true", "skip, report or enforce"),
        ("browser", "No", "14: got No", "api or passthrough"),
        ("websocket", "yes", "16: got yes", "true or false; write true, or 'yes' in quotes if text is meant"),
        ("websocket", "Off", "16: got Off", "true or false; write false, or 'Off' in quotes if text is meant"),
        ("allow", "~", "12: this key has no value. Indent the lines that belong to it, or remove the key.", ""),
        ("allow", "!!str public", "12: tag tag:yaml.org,2002:str. Write the value without a tag.", ""),
        ("methods", "[]", "14: got a list", "at least one method; leave `methods` out for all but HEAD and OPTIONS"),
        ("methods", "GET", "14: got 'GET'", "a list; write methods: [GET]"),
        ("methods", "get, POST", "14: got 'get, POST'", "a list; write methods: [GET, POST]"),
        ("methods", "FETCH", "14: got 'FETCH'", "a list"),
        ("methods", "[get]", "15: got 'get'", f"{METHODS}; did you mean GET?"),
        ("methods", "[GET, TRACE]", "20: got 'TRACE'", METHODS),
        ("methods", "[CONNECT]", "15: got 'CONNECT'", METHODS),
        ("methods", "[GET, PUT, GET]", "14: got a list", "each entry once; GET is there more often"),
        ("methods", "[{GET: 1}]", "15: got a mapping", METHODS),
        ("rate_limit", "[1/day]", "17: got a list",
         "only names of `limits` in it, which '1/day' is not"),
        ("rate_limit", "[120/minute, 5/second]", "17: got a list",
         "only names of `limits` in it, which '120/minute' is not"),
        ("rate_limit", "[Mine]", "17: got a list", "only names of `limits` in it, which 'Mine' is not"),
        ("deprecated", "true", "17: got true", "a mapping such as {since: 2026-12-31}"),
        ("deprecated", "2026-11-01", "17: got '2026-11-01'", "a mapping; write deprecated: {since: 2026-11-01}"),
        ("cors", "'*'", "11: got '*'", "a mapping such as {origins: ['https://shop.example.com']}"),
        ("retry", "3", "12: got 3", "a mapping; write retry: {attempts: 3}"),
        ("headers", "{response: x}", "25: got 'x'", "a mapping such as {set: {X-Frame-Options: DENY}}"),
        ("compress", "'true'", "15: got 'true'", "true or false; write compress: true"),
        ("path", "'/x/<int:id>'", "11: got '/x/<int:id>'", f"{SEGMENTS}; write path: /x/{{id}}"),
        ("path", "'/x/<id>/<path:rest>'", "11: got '/x/<id>/<path:rest>'",
         f"{SEGMENTS}; write path: /x/{{id}}/{{rest...}}"),
        ("path", "'/x/{id:int}'", "11: got '/x/{id:int}'", f"{SEGMENTS}; write path: /x/{{id}}"),
        ("path", "'/x y'", "11: got '/x y'", SEGMENTS),
        ("rate_limit", "0/minute", "17: got '0/minute'", RATE),
        ("rate_limit", "1/week", "17: got '1/week'", RATE),
        ("rate_limit", "120", "17: got 120", f"{RATE}; write rate_limit: 120/minute"),
        ("rate_limit", "", "16: this key has no value. Indent the lines that belong to it, or remove the key.", ""),
        ("max_body", "1 MiB", "15: got '1 MiB'", f"{SIZE}; write max_body: 1MiB"),
        ("max_body", "1mib", "15: got '1mib'", f"{SIZE}; write max_body: 1MiB"),
        ("max_body", "much", "15: got 'much'", SIZE),
        ("max_body", "-1", "15: got -1", SIZE),
        ("max_body", "1.5", "15: got '1.5'", SIZE),
        ("max_body", "true", "15: got true", SIZE),
        ("max_body", "[1]", "15: got a list", SIZE),
        ("max_body", "010", "15: got 010", YAML_1_1_NUMBER),
        ("max_body", "0x10", "15: got 0x10", YAML_1_1_NUMBER),
        ("max_body", "1_000", "15: got 1_000", YAML_1_1_NUMBER),
        ("max_body", "1:30", "15: got 1:30", YAML_1_1_NUMBER),
        ("max_body", "9" * 90, "15: got '" + "9" * 79 + "…", SIZE),
        ("timeouts", "1s", "15: got '1s'", "a mapping; write timeouts: {total: 1s}"),
        ("timeouts", "5", "15: got 5", "a mapping; write timeouts: {total: 5s}"),
        ("timeouts", "soon", "15: got 'soon'", "a mapping such as {total: 10s}"),
        ("timeouts", "{total: 10}", "23: got 10", f"{DURATION}; write total: 10s"),
        ("timeouts", "{total: true}", "23: got true", DURATION),
        ("timeouts", "{total: 0s}", "23: got '0s'", DURATION),
        ("timeouts", "{total: 61m}", "23: got '61m'", DURATION),
        ("timeouts", "{total: 1h}", "23: got '1h'", DURATION),
        ("timeouts", "{total: -1s}", "23: got '-1s'", DURATION),
        ("timeouts", "{totl: 1s}",
         "16: unknown key 'totl'. Did you mean `total`? The keys here are `connect`, `first_byte`, `total`.", ""),
        ("browser", "html", "14: got 'html'", "api or passthrough"),
        ("websocket", "1", "16: got 1", "true or false"),
        ("websocket", "'true'", "16: got 'true'", "true or false; write websocket: true"),
        ("service", "b", "14: unknown service 'b'. The services are a.", ""),
        ("service", "aa", "14: unknown service 'aa'. Did you mean a? The services are a.", ""),
        ("service", "[a]", "14: got a list", "the name of a service"),
        ("path", "[/x]", "11: got a list", "a path such as /api/users/{id}"),
        ("path", "x", "11: got 'x'", "a path that starts with /"),
        ("metods", "[GET]", f"5: unknown key 'metods'. Did you mean `methods`? {ROUTE_KEYS}", ""),
        ("zzz", "1", f"5: unknown key 'zzz'. {ROUTE_KEYS}", ""),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_fault_at_its_place(
    tmp_path: Path, key: str, written: str, found: str, expected: str
) -> None:
    line = {"path": 4, "service": 5, "allow": 6}.get(key, 7)
    assert faults(tmp_path, route(**{key: written})) == [
        f"{line}:{found}" + (f"; expected {expected}" if expected else "")
    ]


def test_a_websocket_that_no_client_could_open_is_a_fault(tmp_path: Path) -> None:
    found = faults(tmp_path, route(methods="[POST]", websocket="true"))
    assert found == ["7:14: a WebSocket begins with GET, which is not among the methods. Add it."]
    for methods, websocket in ("[POST]", "false"), ("[GET]", "true"):
        config = read(tmp_path, route(methods=methods, websocket=websocket))
        assert config.routes[0].websocket is (websocket == "true")


@pytest.mark.parametrize("version", ["2", "true", "'1'", "1.0", "[1]"])
def test_only_version_1_of_the_format_is_known(tmp_path: Path, version: str) -> None:
    (found,) = faults(tmp_path, route().replace("version: 1", f"version: {version}"))
    assert found.startswith("1:10: got ")
    assert "; expected 1, the only version of the format" in found


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
    assert "; expected a version such as v1" in found


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("a: {rate: 1/week}", f"20: got '1/week'; expected {A_RATE}"),
        ("a: {rate: 5}", f"20: got 5; expected {A_RATE}; write rate: 5/minute"),
        ("a: 5/minute", "13: got '5/minute'; expected a mapping such as {rate: 120/minute}"),
        ("A: {rate: 1/day}", f"10: got 'A'; expected {A_LIMIT_NAME}"),
        ("a: {rate: 1/day, burst: 0}", f"34: got 0; expected {A_BURST}"),
        ("a: {rate: 1/day, burst: true}", f"34: got true; expected {A_BURST}"),
        ("a: {rate: 1/day, by: users}", f"31: got 'users'; expected {COUNTED_BY}"),
        ("a: {rate: 1/day, by: 'header:a b'}", f"31: got 'header:a b'; expected {COUNTED_BY}"),
        ("a: {rate: 1/day, announce: 'true'}", "37: got 'true'; expected true or false; write announce: true"),
    ],
)
def test_a_bad_limit_is_one_fault_at_its_place(tmp_path: Path, written: str, fault: str) -> None:
    assert faults(tmp_path, route() + f"limits: {{{written}}}\n") == [f"7:{fault}"]


def test_a_limit_is_named_once(tmp_path: Path) -> None:
    text = route(rate_limit="[a, a]") + "limits: {a: {rate: 1/day}}\n"
    assert faults(tmp_path, text) == ["7:17: got a list; expected each limit once"]


def sections(model: type[Section]) -> Iterator[type[Section]]:
    for each in model.__subclasses__():
        yield each
        yield from sections(each)


@pytest.mark.parametrize(
    "section", set(sections(Section)) - {Config, HeaderRules}, ids=lambda section: section.__name__
)
def test_each_section_has_an_example_that_it_takes(section: type[Section]) -> None:
    found = DocumentReader("", {}).read(section.example).plain()
    assert section.model_validate(found).model_fields_set == set(found)


def test_an_entry_of_services_or_limits_that_is_no_mapping_has_an_example(tmp_path: Path) -> None:
    text = "version: 1\nservices: {a: 'http://a'}\nlimits: {mine: 5/minute}\nroutes: [/x]\n"
    assert faults(tmp_path, text) == [
        "2:15: got 'http://a'; expected a mapping such as {url: 'http://127.0.0.1:8002'}",
        "3:16: got '5/minute'; expected a mapping such as {rate: 120/minute}",
        "4:10: got '/x'; expected a mapping such as {path: /api/orders, service: orders, allow: authenticated}",
    ]
