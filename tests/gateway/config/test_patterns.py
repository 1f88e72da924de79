"""The grammar of paths, and which routes cannot stand beside each other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import RESERVED, ConfigError, load
from gateway.config.patterns import Pattern, Segment, Shapes, parse

ADVICE = "Change the path or the methods of one."


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/a", [("static", "a")]),
        ("/a/", [("static", "a"), ("static", "")]),
        ("/{id}/", [("param", "id"), ("static", "")]),
        ("/", [("static", "")]),
        ("/a-._~!$&'()*+,=:@9", [("static", "a-._~!$&'()*+,=:@9")]),
        ("/...", [("static", "...")]),
        ("/api/{id}/x", [("static", "api"), ("param", "id"), ("static", "x")]),
        ("/{_a1}", [("param", "_a1")]),
        ("/admin/{path...}", [("static", "admin"), ("rest", "path")]),
    ],
)
def test_a_path_is_made_of_segments(path: str, segments: list[tuple[str, str]]) -> None:
    assert parse(path) == Pattern(tuple(Segment(kind, text) for kind, text in segments))  # type: ignore[arg-type]


EMPTY = "a path without empty segments$"
DOTS = "a path without . and .. segments"
SEGMENTS = "segments of letters"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "a path that starts with /"),
        ("a", "a path that starts with /"),
        ("//", EMPTY),
        ("/a//", EMPTY),
        ("/a//b", EMPTY),
        ("//a", EMPTY),
        ("/.", DOTS),
        ("/a/../b", DOTS),
        ("/..;x=1", DOTS),
        ("/a%20b", SEGMENTS),
        ("/a b", SEGMENTS),
        ("/a;b", SEGMENTS),
        ("/é", SEGMENTS),
        ("/a?b", SEGMENTS),
        ("/a#b", SEGMENTS),
        ("/a\\b", SEGMENTS),
        ("/{}", SEGMENTS),
        ("/{a-b}", SEGMENTS),
        ("/{1}", SEGMENTS),
        ("/x{a}", SEGMENTS),
        ("/{a}x", SEGMENTS),
        ("/{a..}", SEGMENTS),
        ("/{a", SEGMENTS),
        ("/{a...}/b", r"\{name...\} as the last segment only"),
        ("/{a}/{a}", "each parameter name once"),
        ("/{a}/{a...}", "each parameter name once"),
    ],
)
def test_a_path_outside_of_the_grammar_is_a_fault(path: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}"):
        parse(path)


def faults(tmp_path: Path, *routes: tuple[str, str], more: str = "") -> list[str]:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "services: {a: {url: 'http://a'}}\nversion: 1\nroutes:\n"
        + "".join(
            f"  - {{path: '{each}', methods: [{methods}], service: a, allow: public}}\n" for each, methods in routes
        )
        + ("" if routes else "    []\n")
        + more
    )
    try:
        load(path, {})
    except ConfigError as exc:
        return [str(fault).removeprefix(f"{path}:") for fault in exc.faults]
    return []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/x/a", "GET"), ("/x/b", "GET")),
        (("/x/me", "GET"), ("/x/{id}", "GET")),
        (("/x/{id}", "GET"), ("/x/{id}/y", "GET")),
        (("/x/{id}", "GET"), ("/x/{rest...}", "GET")),
        (("/x", "GET"), ("/x/{rest...}", "GET")),
        (("/x/{a}/{rest...}", "GET"), ("/x/{rest...}", "GET")),
        (("/x", "GET"), ("/x/", "GET")),
        (("/x/", "GET"), ("/x/{id}", "GET")),
        (("/x/{id}/", "GET"), ("/x/y/z", "GET")),
        (("/x/{id}/", "GET"), ("/x/{id}/{part}", "GET")),
        (("/x/", "GET"), ("/x/{rest...}", "GET")),
        (("/x/y/", "GET"), ("/x/{page}/", "GET")),
        (("/x", "GET"), ("/x", "POST, PUT")),
        (("/x/{a}", "HEAD"), ("/x/{b}", "POST")),
        (("/x/{a}/c", "GET"), ("/x/b/{d}/e", "GET")),
        (("/x/{a}/c", "GET"), ("/x/b/d", "GET")),
        (("/a/{x}/c", "GET"), ("/b/{x}/c", "GET")),
    ],
)
def test_a_more_specific_route_does_not_conflict(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert faults(tmp_path, first, second) == []
    assert faults(tmp_path, second, first) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/x", "GET"), ("/x", "GET")),
        (("/x", "GET, POST"), ("/x", "POST, PUT")),
        (("/x", "GET"), ("/x", "HEAD")),
        (("/x/", "GET"), ("/x/", "GET")),
        (("/x/{id}/", "GET"), ("/x/{name}/", "GET")),
        (("/x/z/{a}/", "GET"), ("/x/{b}/y/", "GET")),
        (("/x/{id}", "GET"), ("/x/{name}", "GET")),
        (("/x/{a...}", "GET"), ("/x/{b...}", "GET")),
        (("/x/{a}/c", "GET"), ("/x/b/{d}", "GET")),
        (("/x/{a}/c", "GET"), ("/x/b/{d...}", "GET")),
        (("/x/y/{a...}", "GET"), ("/x/{a}/z", "GET")),
        (("/x/y/{a...}", "GET"), ("/x/{a}/{b}/z", "GET")),
        # The path alone decides between shapes, so different methods do not help.
        (("/x/{a}/c", "GET"), ("/x/b/{d}", "POST")),
    ],
)
def test_ambiguous_routes_are_a_fault_that_names_both_lines(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    for one, other in (first, second), (second, first):
        assert faults(tmp_path, one, other) == [
            f"5:12: '{other[0]}' can match the same requests as '{one[0]}' on line 4. {ADVICE}"
        ]


def test_a_conflict_names_the_first_of_several_routes(tmp_path: Path) -> None:
    found = faults(tmp_path, ("/b/{x}", "GET"), ("/a", "GET"), ("/a", "POST"), ("/a", "GET, POST"), ("/c", "GET"))
    assert found == ["7:12: '/a' can match the same requests as '/a' on line 5. Change the path or the methods of one."]


def test_a_path_with_the_current_version_conflicts_with_one_without(tmp_path: Path) -> None:
    routes = ("/api/v1/x", "GET"), ("/api/x", "GET")
    assert faults(tmp_path, *routes) == []
    assert faults(tmp_path, *routes, more="versions: {current: v2}\n") == []
    assert faults(tmp_path, *routes, more="versions: {current: v1}\n") == [
        "5:12: '/api/x' can match the same requests as '/api/v1/x' on line 4. Change the path or the methods of one."
    ]


@pytest.mark.parametrize("path", RESERVED)
def test_the_gateways_own_paths_are_reserved(tmp_path: Path, path: str) -> None:
    assert faults(tmp_path, (path, "PATCH"))[0].startswith(
        f"4:12: '{path}' can match the gateway's own {path}. Choose another path."
    )


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/{all...}", RESERVED),
        ("/{page}", ["/docs", "/redoc", "/openapi.json", "/healthz", "/livez", "/readyz", "/metrics"]),
        ("/login/{rest...}", ["/login/"]),
        ("/logout/{rest...}", ["/logout/"]),
        ("/api/{name}", ["/api/login", "/api/logout", "/api/sessions"]),
        ("/api/sessions/{id}", ["/api/sessions/{rest...}"]),
        ("/api/sessions/x", ["/api/sessions/{rest...}"]),
        ("/api/users/{id}/{what}", ["/api/users/{id}/sessions"]),
        ("/gateway/x", ["/gateway/{rest...}"]),
        ("/static/x/y", ["/static/{rest...}"]),
        ("/{a}/{b}", ["/api/login", "/api/logout", "/api/sessions", "/api/sessions/{rest...}"]),
    ],
)
def test_a_route_that_can_match_a_reserved_path_is_a_fault(tmp_path: Path, path: str, own: list[str]) -> None:
    (found,) = faults(tmp_path, (path, "GET"))
    named = found.partition("the gateway's own ")[2].removesuffix(". Choose another path.").split(", ")
    assert (own[0] in named) if path == "/{a}/{b}" else named == list(own)


@pytest.mark.parametrize(
    "path", ["/login", "/gateway", "/static", "/api/logins", "/docs/x", "/login/{x}", "/api/v1/login"]
)
def test_a_path_that_only_resembles_a_reserved_one_is_allowed(tmp_path: Path, path: str) -> None:
    assert faults(tmp_path, (path, "GET")) == []


def test_the_gateways_own_paths_are_reserved_under_the_current_version_too(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, ("/api/v1/login", "POST"), more="versions: {current: v1}\n")
    assert found == "4:12: '/api/v1/login' can match the gateway's own /api/login. Choose another path."


def test_routes_of_a_wrong_type_do_not_stop_the_other_checks(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\nservices: [a]\nroutes: {path: /api/login}\nlogin: x\nversions: 7\n")
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    assert [
        (fault.line, fault.column, fault.message.partition("; expected ")[2]) for fault in refused.value.faults
    ] == [
        (2, 11, "a mapping"),
        (3, 9, "a list"),
        (4, 8, "a mapping; write login: {service: x}"),
        (5, 11, "a mapping such as {current: v1}"),
    ]


END = Segment("static", "")
segments = st.one_of(
    st.sampled_from(["a", "b"]).map(lambda text: Segment("static", text)), st.just(Segment("param", "p"))
)
patterns = st.builds(
    lambda body, last: Pattern((*body, *([last] if last else [] if body else [END]))),
    st.lists(segments, max_size=3),
    st.sampled_from([None, Segment("rest", "r"), END]),
)
paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5).flatmap(
    lambda body: st.sampled_from([body, [*body, ""]])
)


def matches(pattern: Pattern, path: list[str]) -> bool:
    for index, segment in enumerate(pattern.segments):
        if index >= len(path):
            return False
        if segment.kind == "rest":
            return True
        if segment.kind == "static" and segment.text != path[index]:
            return False
        if segment.kind == "param" and not path[index]:
            return False
    return len(path) == len(pattern.segments)


@given(patterns, patterns, paths)
def test_overlap_and_specificity_agree_with_what_paths_match(one: Pattern, other: Pattern, path: list[str]) -> None:
    if matches(one, path) and matches(other, path):
        assert one.overlaps(other)
    if one.covers(other) and matches(other, path):
        assert matches(one, path)
    if matches(one, path) and one.shape == other.shape:
        assert matches(other, path)


@given(patterns, st.lists(patterns, max_size=8))
def test_the_tree_finds_exactly_the_patterns_that_overlap(pattern: Pattern, others: list[Pattern]) -> None:
    shapes = Shapes()
    for index, other in enumerate(others):
        shapes.add(other, index)
    expected = [index for index, other in enumerate(others) if pattern.overlaps(other)]
    assert sorted(shapes.overlapping(pattern.segments)) == expected
    assert expected == [index for index, other in enumerate(others) if other.overlaps(pattern)]
