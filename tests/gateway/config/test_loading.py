"""Whole files: what a good one becomes, and every fault of a bad one, at its place."""

import re
import time
import timeit
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.gateway.config.files import HEAD, faults, read, route, timeouts

from gateway.config import ConfigError, Policies, RateLimit, ServicePolicies, load, warnings


def test_a_minimal_route_gets_all_defaults(tmp_path: Path) -> None:
    (only,) = read(tmp_path, route()).routes
    assert only.methods == ("GET", "POST", "PUT", "PATCH", "DELETE")
    assert only.timeouts == timeouts("1000ms", "10000ms")
    assert (only.max_body, only.rate_limit, only.browser, only.allow) == (1048576, None, "api", "public")


def test_the_declaration_nearest_to_the_route_wins_for_each_key(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
version: 1
defaults: {timeouts: {connect: 250ms, total: 20s}, max_body: 2KiB}
services:
  a: {url: http://a, timeouts: {total: 30s}}
  b: {url: http://b, max_body: 1KiB}
routes:
  - {path: /1, service: a, allow: public, timeouts: {connect: 2s}, max_body: 5}
  - {path: /2, service: a, allow: public}
  - {path: /3, service: b, allow: public}
""",
    )
    assert [(each.timeouts.connect, each.timeouts.total, each.max_body) for each in config.routes] == [
        (2.0, 30.0, 5),
        (0.25, 30.0, 2048),
        (0.25, 20.0, 1024),
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


@pytest.mark.parametrize("key", ["path", "service", "allow"])
def test_required_keys_of_a_route_have_no_default(tmp_path: Path, key: str) -> None:
    lines = {"path": "path: /x", "service": "service: a", "allow": "allow: public"}
    del lines[key]
    (found,) = faults(tmp_path, HEAD + "  - methods: [GET]\n    " + "\n    ".join(lines.values()) + "\n")
    assert found.startswith(f"4:5: `{key}` is missing. ")


def test_a_missing_key_is_reported_at_the_key_it_belongs_under(tmp_path: Path) -> None:
    found = faults(tmp_path, "version: 1\nservices:\n  a:\n    health: /h\nroutes: []\nversions: {}\nlogin: {}\n")
    assert [each.partition(". ")[0] for each in found] == [
        "3:3: `url` is missing",
        "6:1: `current` is missing",
        "7:1: `service` is missing",
    ]


def test_missing_sections_are_reported_at_the_start(tmp_path: Path) -> None:
    found = faults(tmp_path, "defaults: {}\n")
    assert [each.partition(". ")[0] for each in found] == [
        "1:1: `version` is missing",
        "1:1: `services` is missing",
        "1:1: `routes` is missing",
    ]


def test_an_undefined_login_service_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "version: 1\nservices: {}\nroutes: []\nlogin: {service: users}\n") == [
        "4:18: unknown service 'users'. Add it under `services`."
    ]


def test_an_unknown_key_is_reported_with_the_keys_of_its_section(tmp_path: Path) -> None:
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
    policies = ", ".join(f"`{key}`" for key in ServicePolicies.model_fields)
    keys = f"`url`, `openapi`, `health`, `trailing_slash`, `host`, `pass_authorization`, {policies}"
    sections = "`version`, `defaults`, `services`, `limits`, `versions`, `login`, `roles`, `routes`"
    assert faults(tmp_path, text) == [
        f"3:1: unknown key 'rutes'. Did you mean `routes`? The keys here are {sections}.",
        f"4:12: unknown key 'max_bodi'. Did you mean `max_body`? The keys here are {policies}.",
        "4:36: unknown key 'x'. The keys here are `connect`, `first_byte`, `total`.",
        f"6:29: unknown key 'ulr'. Did you mean `url`? The keys here are {keys}.",
        "7:12: unknown key 'curent'. Did you mean `current`? The keys here are `current`.",
        "8:9: unknown key 'servise'. Did you mean `service`? The keys here are `service`, `change_password`.",
    ]


def test_every_fault_of_a_file_is_reported_in_its_order(tmp_path: Path) -> None:
    text = """\
version: 1
services:
  A: {url: http://a}
  b: {url: "${NOWHERE}"}
routes:
  - path: /api/login
    service: missing
    allow: [admin, on]
  - {path: /b/{x}, service: b, allow: public}
""".replace("/b/{x}", "'/b/{x}'")
    text += "  - {path: '/b/{y}', service: b, allow: admin, methods: [GET, FOO]}\n  - 7\n  - *alias\n"
    found = faults(tmp_path, text)
    assert [each.partition(": ")[0] for each in found] == [
        "3:3", "4:12", "6:11", "7:14", "8:20", "10:12", "10:41", "10:63", "11:5", "12:5"
    ]  # fmt: skip
    assert (
        found[8] == "11:5: got 7; expected a mapping such as {path: /api/orders, service: orders, allow: authenticated}"
    )


def test_a_value_that_cannot_be_read_is_not_reported_twice(tmp_path: Path) -> None:
    text = "version: *a\nservices: *b\nroutes: *c\ndefaults: {max_body: *d, timeouts: *e}\n"
    found = faults(tmp_path, text)
    assert [each.partition(". ")[0] for each in found] == [
        f"{place}: alias *{name}"
        for place, name in [("1:10", "a"), ("2:11", "b"), ("3:9", "c"), ("4:22", "d"), ("4:36", "e")]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: the file is empty. Write a mapping with `version`, `services` and `routes`."]),
        ("# only\n\n", ["1:1: the file is empty. Write a mapping with `version`, `services` and `routes`."]),
        ("---\n", ["2:1: this key has no value. Indent the lines that belong to it, or remove the key."]),
        ("7\n", ["1:1: got 7; expected a mapping"]),
        ("[1]\n", ["1:1: got a list; expected a mapping"]),
        ("version: 1\n---\nversion: 1\n", ["2:1: second document. Keep one in the file."]),
        (b"version: 1\nroutes: \xff\n", ["2:9: byte 0xff is not UTF-8. Save the file as UTF-8."]),
        ("version: 1\nx: '\x00'\n", ["2:5: unprintable character U+0000. Remove it."]),
        ("\x1b", ["1:1: unprintable character U+001B. Remove it."]),
        ("x:\n" + "  [" * 40 + "]" * 40, ["2:48: more than 16 levels of nesting. Use fewer."]),
    ],
)
def test_a_file_that_is_not_one_utf_8_mapping_is_a_fault(
    tmp_path: Path, text: str | bytes, expected: list[str]
) -> None:
    assert faults(tmp_path, text) == expected


def test_a_very_deep_file_is_a_fault(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, "[" * 50_000)
    assert found == "1:17: more than 16 levels of nesting. Use fewer."


@pytest.mark.parametrize(
    ("text", "place"),
    [("routes: [\n", "2:1"), ("a: b: c\n", "1:5"), ("x: 'open\n", "2:1")],
)
def test_a_syntax_error_is_reported_where_it_is(tmp_path: Path, text: str, place: str) -> None:
    (found,) = faults(tmp_path, text)
    assert found.startswith(f"{place}: invalid YAML: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\n\troutes: []\n", "2:1"),
        ("version: 1\nservices:\n  a:\n  \turl: http://a\n", "4:3"),
        ("version:\t1\nroutes: []\n\tx: 1", "3:1"),
    ],
)
def test_a_tab_is_reported_with_spaces_to_write_instead(tmp_path: Path, text: str, place: str) -> None:
    assert faults(tmp_path, text) == [f"{place}: tab before a key or a value. Use spaces."]


NESTED = "services:\n  a:\n    timeouts:\n      total: 1s\n"


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        (route() + "   rate_limit: 1/day\n", "7:4: 3 spaces", "4 as on line 6 or 0 as on line 3"),
        (route() + "  rate_limit: 1/day\n", "7:3: 2 spaces", "4 as on line 6 or 0 as on line 3"),
        (route() + "     rate_limit: 1/day\n", "7:6: 5 spaces", "4 as on line 6 or 0 as on line 3"),
        (route() + "   - path: /y\n", "7:4: 3 spaces", "2 as on line 4"),
        ("version: 1\n services: {}\n", "2:2: 1 space", "0 as on line 1"),
        (
            NESTED + "   # a note\n   health: /x\n",
            "6:4: 3 spaces",
            "6 as on line 4, 4 as on line 3, 2 as on line 2 or 0 as on line 1",
        ),
    ],
)
def test_a_wrongly_indented_line_is_reported_with_the_indentations_that_fit(
    tmp_path: Path, text: str, found: str, expected: str
) -> None:
    assert faults(tmp_path, text) == [f"{found} before this line. Use {expected}."]


def test_a_syntax_error_does_not_hide_what_was_found_before(tmp_path: Path) -> None:
    found = faults(tmp_path, "version: 010\nroutes: [\n")
    assert [each.partition(": ")[0] for each in found] == ["1:10", "3:1"]


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + route().encode()).version == 1


def test_a_repeated_key_is_a_fault_at_the_second(tmp_path: Path) -> None:
    assert faults(tmp_path, route() + "version: 1\n") == [
        "7:1: duplicate key 'version', first on line 1. Remove one of them."
    ]


def test_a_key_that_is_not_text_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, route() + "? [a]\n: 1\n") == ["7:3: this key is not text. Write a text key."]


def test_a_file_of_nested_aliases_is_rejected_at_once(tmp_path: Path) -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    started = time.process_time()
    found = faults(tmp_path, laughs)
    assert sum("alias *" in each for each in found) == 72
    assert time.process_time() - started < 20, "43 million values take minutes"


def test_a_merge_key_is_rejected(tmp_path: Path) -> None:
    found = faults(tmp_path, route() + "    <<: {browser: api}\n")
    assert found[0].startswith("7:5: unknown key '<<'. The keys here are `path`")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "directory"])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, make: object) -> None:
    path = tmp_path / "gateway.yaml"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    (fault,) = refused.value.faults
    assert (fault.file, fault.line, fault.column) == (str(path), 1, 1)
    reason, _, advice = fault.message.partition(". ")
    assert reason in {"No such file or directory", "Is a directory"}
    assert advice == "Set GATEWAY_CONFIG to the path of a file that can be read."


def test_the_time_to_load_grows_with_the_routes(tmp_path: Path) -> None:
    def load_routes(count: int) -> None:
        text = HEAD + "".join(
            f"  - path: /api/s{n}/{{id}}/x\n    methods: [GET, POST]\n    service: a\n    allow: [admin]\n"
            for n in range(count)
        )
        assert len(read(tmp_path, text).routes) == count

    # Ten times the routes take ten times as long; a hundred times if each were compared with each.
    assert processor_time(lambda: load_routes(1000)) < 50 * processor_time(lambda: load_routes(100), runs=5)


def test_a_thousand_routes_that_all_conflict_are_a_thousand_faults(tmp_path: Path) -> None:
    def find_faults(count: int) -> None:
        text = HEAD + "".join(f"  - {{path: '/x/{{p{n}}}/x', service: a, allow: public}}\n" for n in range(count))
        found = faults(tmp_path, text)
        assert len(found) == count - 1
        assert all("on line 4." in each for each in found)

    # Each route is compared with each before it: ten times the routes are a hundred times the pairs.
    assert processor_time(lambda: find_faults(1000)) < 500 * processor_time(lambda: find_faults(100), runs=5)


def processor_time(work: Callable[[], None], runs: int = 1) -> float:
    """Return the seconds of the fastest run: to compare with another, as machines and coverage differ."""
    return min(timeit.repeat(work, time.process_time, number=1, repeat=runs))


def odd(tmp_path: Path, text: str) -> list[str]:
    """Return the warnings of a file without faults."""
    read(tmp_path, text)
    found = warnings(tmp_path / "gateway.yaml", {})
    return [str(fault).removeprefix(f"{tmp_path}/gateway.yaml:") for fault in found]


def test_a_role_that_no_user_has_is_a_warning(tmp_path: Path) -> None:
    text = route(allow="[admn, default]") + "  - {path: /y, service: a, allow: [editor]}\n"
    known, declare = "The roles are admin, default.", "If users have this role, write"
    assert odd(tmp_path, text) == [
        f"6:13: unknown role 'admn'. {known} Did you mean admin? {declare} roles: [admin, default, admn].",
        f"7:36: unknown role 'editor'. {known} {declare} roles: [admin, default, editor].",
    ]


def test_declared_roles_replace_the_default_ones(tmp_path: Path) -> None:
    text = route(allow="[editor]") + "roles: [editor]\n"
    assert odd(tmp_path, text) == []
    assert odd(tmp_path, text.replace("allow: [editor]", "allow: [admin]"))
    assert odd(tmp_path, route(allow="authenticated")) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/x/:id", "the segment ':id' matches only itself. For a parameter write {id}."),
        ("/x/*", "the segment '*' matches only itself. For a parameter write {name}, or {rest...} for the rest."),
    ],
)  # fmt: skip
def test_a_parameter_as_other_frameworks_write_it_is_a_warning(tmp_path: Path, path: str, found: str) -> None:
    assert odd(tmp_path, route(path=f"'{path}'")) == [f"4:11: {found}"]
    assert odd(tmp_path, route(path="'/x/a:b*'")) == []


ODD = route(allow="[admn]") + "roles: {nested: [5]}\nlimits: {}\ndefaults: {}\nversions: {current: v1}\nlogin: {}\n"
KEYS = ("services", "routes", "roles", "limits", "defaults", "versions", "login", "path", "service", "allow", "url")


@pytest.mark.parametrize("value", ["5", "[]", "[5]", "[[x]]", "{}", "x", "{x: 5}", "{x: [5]}", "on", "~", "[{x: {}}]"])
def test_a_value_of_any_form_at_any_key_is_a_fault_or_none(tmp_path: Path, value: str) -> None:
    path = tmp_path / "gateway.yaml"
    policies = (*Policies.model_fields, *ServicePolicies.model_fields)
    for key in (*KEYS, *policies):
        text = f"{route(allow='[admn]')}    {key}: {value}\nlimits: {{unused: {{rate: 1/day}}}}\n"
        for changed in (text, re.sub(rf"(^|[ {{]){key}: .*", rf"\g<1>{key}: {value}", ODD, flags=re.MULTILINE)):
            path.write_text(changed)
            with suppress(ConfigError):
                warnings(path, {})


@pytest.mark.parametrize("text", ["routes: [", route(allow="[admn]") + "    zzz: 5\n"])
def test_a_file_with_faults_has_no_warnings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        warnings(path, {})


ANOTHER = "Name another limit in the route's `rate_limit`."
LIMITS = "limits: {per_user: {rate: 9/minute}, per_id: {rate: 9/minute, by: 'param:id'}}\n"


def test_limits_are_named_at_each_level_and_the_nearest_wins(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
version: 1
limits:
  a: {rate: 120/minute, burst: 20, by: address, announce: false}
  b: {rate: 1/day}
defaults: {rate_limit: a}
services:
  one: {url: http://a, rate_limit: [b, a]}
  two: {url: http://b}
routes:
  - {path: /1, service: one, allow: public}
  - {path: /2, service: one, allow: public, rate_limit: 5/second}
  - {path: /3, service: one, allow: public, rate_limit: []}
  - {path: /4, service: two, allow: public}
""",
    )
    assert [each.rate_limit for each in config.routes] == [("b", "a"), RateLimit(5, 1.0), (), ("a",)]
    assert config.limits["a"].rate_limit == RateLimit(120, 60.0, 20)
    assert (config.limits["a"].by, config.limits["a"].announce) == ("address", False)
    assert (config.limits["b"].by, config.limits["b"].announce) == ("user", True)


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ("pr_user", "7:17: unknown limit 'pr_user'. Did you mean per_user? The limits are per_user, per_id."),
        ("[per_user, x]", "7:28: unknown limit 'x'. The limits are per_user, per_id."),
        ("per_id", f"7:17: limit 'per_id' counts by 'param:id', which '/x' lacks. It has no parameters. {ANOTHER}"),
    ],
)
def test_a_limit_that_a_route_cannot_use_is_a_fault(tmp_path: Path, declared: str, fault: str) -> None:
    assert faults(tmp_path, route(rate_limit=declared) + LIMITS) == [fault]


def test_a_limit_that_a_route_cannot_inherit_is_a_fault_of_its_path(tmp_path: Path) -> None:
    text = route(path="'/x/{name}'") + LIMITS + "defaults: {rate_limit: [per_id]}\n"
    (found,) = faults(tmp_path, text)
    assert found.startswith(
        "4:11: limit 'per_id' counts by 'param:id', which '/x/{name}' lacks. Its parameters are name."
    )
    assert read(tmp_path, text.replace("{name}", "{id}")).routes


def test_a_name_without_any_limits_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, route(rate_limit="a")) == [
        "7:17: unknown limit 'a'. Declare it under `limits`, or write a rate such as 60/minute."
    ]
    assert faults(tmp_path, route() + "defaults: {rate_limit: a}\n") == [
        "7:24: unknown limit 'a'. Declare it under `limits`, or write a rate such as 60/minute."
    ]


@pytest.mark.parametrize("place", ["route", "defaults"])
def test_a_rate_with_keys_is_one_fault_that_names_where_limits_are_declared(tmp_path: Path, place: str) -> None:
    written = "{rate: 5/minute, by: user}"
    text = route(rate_limit=written) if place == "route" else route() + f"defaults: {{rate_limit: {written}}}\n"
    (found,) = faults(tmp_path, text)
    assert found.endswith(
        ": got a mapping; expected a rate such as 10/second, 120/minute, 1000/hour or 5000/day. "
        "A limit with `burst`, `by` or `announce` has a name: declare it under `limits` and name it here"
    )


def test_limits_that_no_route_uses_or_that_need_a_user_are_warnings(tmp_path: Path) -> None:
    limits = "limits:\n  a: {rate: 9/minute, by: user}\n  b: {rate: 9/minute}\n  c: {rate: 1/day}\n"
    public = "Requests without a user count by client address. Write `by: address` to count all of them so."
    assert odd(tmp_path, route(rate_limit="[a, b]") + limits) == [
        f"7:18: limit 'a' counts by user, but `allow` is public. {public}",
        "11:3: no route uses limit 'c'. Name it in a `rate_limit`.",
    ]
    assert odd(tmp_path, route(allow="authenticated", rate_limit="[a, b, c]") + limits) == []
