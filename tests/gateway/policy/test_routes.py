"""Which route a request is for."""

import contextlib
import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config
from gateway.policy.paths import canonical
from gateway.policy.rejections import MethodNotAllowed, MethodNotImplemented, RouteNotFound, SlashRedirect
from gateway.policy.routes import Match, RouteTable

Routes = list[tuple[str, str]]


def table(routes: Routes, current: str | None = None, **service: str) -> RouteTable:
    """Return the table of routes that are each a path and methods."""
    return RouteTable(
        Config.model_validate(
            {
                "version": 1,
                "services": {"a": {"url": "http://a"} | service},
                "routes": [
                    {"path": path, "methods": methods.split(), "service": "a", "allow": "public"}
                    for path, methods in routes
                ],
            }
            | ({"versions": {"current": current}} if current else {})
        )
    )


TABLE = table(
    [
        ("/api/users", "GET POST"),
        ("/api/users/{id}", "GET PUT"),
        ("/api/users/{name}", "DELETE"),
        ("/api/users/me", "PATCH"),
        ("/api/users/{id}/keys/{key}", "GET"),
        ("/api/users/me/password", "POST"),
        ("/api/files/{path...}", "GET"),
        ("/api/files/{top}", "PUT"),
        ("/api/files/{top}/index", "GET"),
        ("/admin/{path...}", "GET POST OPTIONS"),
        ("/head", "HEAD"),
        ("/both", "GET"),
        ("/both", "HEAD"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "route", "params"),
    [
        ("GET", "/api/users", "/api/users", {}),
        ("GET", "/api/users/7", "/api/users/{id}", {"id": "7"}),
        ("DELETE", "/api/users/7", "/api/users/{name}", {"name": "7"}),
        ("GET", "/api/users/mee", "/api/users/{id}", {"id": "mee"}),
        ("GET", "/api/users/a%20b", "/api/users/{id}", {"id": "a%20b"}),
        ("PATCH", "/api/users/me", "/api/users/me", {}),
        ("POST", "/api/users/me/password", "/api/users/me/password", {}),
        # The way back: `me` has no `keys`, but `{id}` has.
        ("GET", "/api/users/me/keys/k", "/api/users/{id}/keys/{key}", {"id": "me", "key": "k"}),
        ("PUT", "/api/files/x", "/api/files/{top}", {"top": "x"}),
        ("GET", "/api/files/", "/api/files/{path...}", {"path": ""}),
        ("GET", "/api/files/x/", "/api/files/{path...}", {"path": "x/"}),
        ("GET", "/api/files/x/y", "/api/files/{path...}", {"path": "x/y"}),
        ("GET", "/api/files/x/index", "/api/files/{top}/index", {"top": "x"}),
        ("GET", "/api/files/x/index/", "/api/files/{path...}", {"path": "x/index/"}),
        ("GET", "/admin/", "/admin/{path...}", {"path": ""}),
        ("POST", "/admin/users/1/change/", "/admin/{path...}", {"path": "users/1/change/"}),
        ("OPTIONS", "/admin/x", "/admin/{path...}", {"path": "x"}),
        ("HEAD", "/api/users/7", "/api/users/{id}", {"id": "7"}),
        ("HEAD", "/head", "/head", {}),
    ],
)
def test_the_most_specific_route_is_matched(method: str, path: str, route: str, params: dict[str, str]) -> None:
    match = TABLE.match(method, path)
    assert (match.route.path, match.params, match.handles_options) == (route, params, False)
    assert match.upstream_path == path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/api/users//",
        "/api/users/7/keys",
        "/api/users/7/keys/",
        "/api/Users",
        "/administrator",
        "/api/users/{id}/x",
        "/users",
        # The gateway's own, which it answers itself.
        "/login/",
        "/docs",
        "/static/x/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "TRACE"])
def test_a_path_without_a_route_is_a_404(method: str, path: str) -> None:
    with pytest.raises(RouteNotFound) as refused:
        TABLE.match(method, path)
    assert (refused.value.status, refused.value.headers) == (404, {})


SLASHED = [
    ("/x", "GET POST"),
    ("/x/{id}/", "GET"),
    ("/both", "GET"),
    ("/both/", "POST"),
    ("/rest/{path...}", "GET"),
    ("/api/books/", "GET"),
    ("/login", "GET"),
    ("/docs/", "GET"),
]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/x/", "/x"),
        ("/x/7", "/x/7/"),
        ("/x/%C3%A9%207", "/x/%C3%A9%207/"),
        ("/rest", "/rest/"),
        ("/api/books", "/api/books/"),
        ("/api/v1/books", "/api/v1/books/"),
        # The gateway's own.
        ("/redoc/", "/redoc"),
        ("/logout", "/logout/"),
        ("/api/v1/login/", "/api/v1/login"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_path_that_differs_by_its_last_slash_is_a_308(method: str, path: str, location: str) -> None:
    with pytest.raises(SlashRedirect) as redirect:
        table(SLASHED, "v1").match(method, path)
    assert (redirect.value.status, redirect.value.headers) == (
        308,
        {"Location": location, "Cache-Control": "no-store"},
    )


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/x", "/x"),
        ("GET", "/x/7/", "/x/{id}/"),
        ("GET", "/both", "/both"),
        ("POST", "/both/", "/both/"),
        ("GET", "/api/v1/books/", "/api/books/"),
        ("GET", "/login", "/login"),
        ("GET", "/docs/", "/docs/"),
    ],
)
def test_a_trailing_slash_is_matched_and_sent_as_written(method: str, path: str, route: str) -> None:
    match = table(SLASHED, "v1").match(method, path)
    assert (match.route.path, match.upstream_path) == (route, path.replace("/v1/", "/"))


@pytest.mark.parametrize("path", ["/login/", "/docs"])
def test_a_route_beside_a_path_of_the_gateway_does_not_redirect_from_it(path: str) -> None:
    with pytest.raises(RouteNotFound):
        table(SLASHED).match("GET", path)


def test_routes_with_and_without_a_slash_keep_their_own_methods() -> None:
    for method, path in (("POST", "/both"), ("GET", "/both/")):
        with pytest.raises(MethodNotAllowed):
            table(SLASHED).match(method, path)


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", ""])
@pytest.mark.parametrize("path", ["/api/users", "/nothing/here"])
def test_an_unknown_method_is_a_501_on_any_path(method: str, path: str) -> None:
    with pytest.raises(MethodNotImplemented):
        TABLE.match(method, path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/users", "GET, HEAD, OPTIONS, POST"),
        # All routes of the shape, whatever they call the parameter.
        ("PATCH", "/api/users/7", "DELETE, GET, HEAD, OPTIONS, PUT"),
        # The path decides first: `{id}` is not asked for `me`.
        ("GET", "/api/users/me", "OPTIONS, PATCH"),
        ("DELETE", "/api/users/me", "OPTIONS, PATCH"),
        ("GET", "/api/files/x", "OPTIONS, PUT"),
        ("HEAD", "/api/users/me/password", "OPTIONS, POST"),
        ("GET", "/head", "HEAD, OPTIONS"),
        ("TRACE", "/admin/", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_a_method_without_a_route_is_a_405_with_the_path_s_methods(method: str, path: str, allow: str) -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.match(method, path)
    assert (refused.value.status, refused.value.headers) == (405, {"Allow": allow})
    assert refused.value.detail == f"Method not allowed. Use {allow}."


@pytest.mark.parametrize(
    ("path", "allow", "answered"),
    [
        ("/api/users", "GET, HEAD, OPTIONS, POST", True),
        ("/api/users/7", "DELETE, GET, HEAD, OPTIONS, PUT", True),
        ("/head", "HEAD, OPTIONS", True),
        ("/admin/", "GET, HEAD, OPTIONS, POST", False),
    ],
)
def test_the_gateway_responds_to_options_unless_a_route_lists_it(path: str, allow: str, *, answered: bool) -> None:
    match = TABLE.match("OPTIONS", path)
    assert (match.allow, match.handles_options) == (allow, answered)


def test_each_match_has_all_methods_of_its_path() -> None:
    assert TABLE.match("DELETE", "/api/users/7").allow == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize("routes", [[("/x", "GET"), ("/x", "HEAD")], [("/x", "HEAD"), ("/x", "GET")]])
def test_a_route_of_head_only_goes_before_that_of_get(routes: Routes) -> None:
    assert table(routes).match("HEAD", "/x").route.methods == ("HEAD",)


@pytest.mark.parametrize(
    ("written", "asked", "upstream"),
    [
        ("/api/orders/{id}", "/api/orders/7", "/api/orders/7"),
        ("/api/orders/{id}", "/api/v1/orders/7", "/api/orders/7"),
        ("/api/v1/orders/{id}", "/api/orders/7", "/api/v1/orders/7"),
        ("/api/v1/orders/{id}", "/api/v1/orders/7", "/api/v1/orders/7"),
        ("/api/v1/{rest...}", "/api/x/", "/api/v1/x/"),
        ("/api/v2/orders/{id}", "/api/v2/orders/7", "/api/v2/orders/7"),
        ("/api/v1", "/api", "/api/v1"),
        ("/api", "/api/v1", "/api"),
        ("/x/v1/y", "/x/v1/y", "/x/v1/y"),
    ],
)
def test_paths_with_and_without_the_current_version_reach_the_same_route(
    written: str, asked: str, upstream: str
) -> None:
    match = table([(written, "GET")], "v1").match("GET", asked)
    assert (match.route.path, match.upstream_path) == (written, upstream)


@pytest.mark.parametrize(
    ("current", "asked"),
    [(None, "/api/v1/orders"), ("v2", "/api/v1/orders"), ("v1", "/api/v1/v1/orders"), ("v1", "/v1/orders")],
)
def test_another_version_is_another_path(current: str | None, asked: str) -> None:
    with pytest.raises(RouteNotFound):
        table([("/api/orders", "GET")], current).match("GET", asked)


@pytest.mark.parametrize(
    ("written", "asked", "upstream"),
    [
        ("/api/books", "/api/books", "/api/books/"),
        ("/api/books", "/api/v1/books", "/api/books/"),
        ("/api/books/{id}", "/api/books/%C3%A9", "/api/books/%C3%A9/"),
        ("/api/books/{id}/", "/api/books/7/", "/api/books/7/"),
        ("/api/books/", "/api/books/", "/api/books/"),
        # The rest of a path is the client's to write.
        ("/admin/{path...}", "/admin/css/base.css", "/admin/css/base.css"),
        ("/admin/{path...}", "/admin/login/", "/admin/login/"),
        ("/admin/{path...}", "/admin/", "/admin/"),
    ],
)
def test_a_service_that_has_slashes_appended_is_sent_its_paths_with_one(
    written: str, asked: str, upstream: str
) -> None:
    match = table([(written, "GET")], "v1", trailing_slash="append").match("GET", asked)
    assert (match.route.path, match.upstream_path) == (written, upstream)


def test_public_paths_are_without_the_slash_that_is_appended() -> None:
    with pytest.raises(SlashRedirect) as redirect:
        table([("/api/books", "GET")], trailing_slash="append").match("GET", "/api/books/")
    assert redirect.value.location == "/api/books"


@pytest.mark.parametrize(
    ("asked", "params", "upstream"),
    [
        ("/a+b/100%25%20%C3%A9/c%20d/e%3Ff", {"x": "100%25%20%C3%A9", "y": "c%20d/e%3Ff"}, None),
        ("/a+b/1%2B1%3B/%40%3D/", {"x": "1%2B1%3B", "y": "%40%3D/"}, None),
        ("/a%2bb/1;v=2/c;d/e", {"x": "1;v=2", "y": "c;d/e"}, "/a+b/1;v=2/c;d/e"),
        ("/a+b;v=2/1/c", {"x": "1", "y": "c"}, "/a+b/1/c"),
    ],
)
def test_parameters_are_forwarded_as_sent(asked: str, params: dict[str, str], upstream: str | None) -> None:
    match = table([("/a+b/{x}/{y...}", "GET")]).match("GET", canonical(asked))
    assert (match.params, match.upstream_path) == (params, upstream or asked)


# Each is the same to some service: one that decodes, or one that leaves path parameters out.
SPELLINGS = ["/items/a+b", "/items/a%2Bb", "/items/%61%2bb", "/items/a+b;x=1", "/items;y/a%2Bb;x"]
DEEP = ["/api/v1/items/5", "/api;x/v1/items/5", "/api/v1;x/items;y/5", "/api/items/5;z"]


@pytest.mark.parametrize("asked", SPELLINGS)
def test_no_spelling_of_a_path_bypasses_its_route(asked: str) -> None:
    match = table([("/items/a+b", "GET"), ("/items/{id}", "GET")]).match("GET", canonical(asked))
    assert (match.route.path, match.upstream_path) == ("/items/a+b", "/items/a+b")


@pytest.mark.parametrize("asked", SPELLINGS)
def test_no_spelling_of_a_segment_bypasses_the_routes_below_it(asked: str) -> None:
    routes = table([("/items/a+b/{path...}", "GET"), ("/items/{path...}", "GET")])
    match = routes.match("GET", canonical(f"{asked}/x;y/z"))
    assert (match.route.path, match.upstream_path) == ("/items/a+b/{path...}", "/items/a+b/x;y/z")


@pytest.mark.parametrize("asked", DEEP)
def test_any_spelling_of_the_current_version_is_the_current_version(asked: str) -> None:
    match = table([("/api/items/{id}", "GET"), ("/api/{x}/{y}/{z}", "GET")], "v1").match("GET", canonical(asked))
    assert match.route.path == "/api/items/{id}"
    assert match.upstream_path.partition(";")[0] == "/api/items/5"


def test_an_encoded_semicolon_begins_no_path_parameter() -> None:
    match = table([("/items/special", "GET"), ("/items/{id}", "GET")]).match("GET", canonical("/items/special%3bx"))
    assert (match.route.path, match.upstream_path) == ("/items/{id}", "/items/special%3Bx")


def test_a_match_has_the_route_s_service_and_settings() -> None:
    match = TABLE.match("GET", "/both")
    assert isinstance(match, Match)
    assert (match.route.service, match.route.max_body, match.allow) == ("a", 1048576, "GET, HEAD, OPTIONS")


def calls(routes: RouteTable, path: str) -> int:
    """Return how many Python functions matching the path calls."""
    counted = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal counted
        counted += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with contextlib.suppress(RouteNotFound):
            routes.match("GET", path)
    finally:
        sys.setprofile(before)
    return counted


def test_a_match_takes_no_more_steps_among_a_thousand_routes() -> None:
    few, many = (
        table([("/api/me/me/{x}", "GET"), *((f"/api/s{n}/{{id}}/x", "GET") for n in range(count))])
        for count in (9, 999)
    )
    for path in ("/api/s5/7/x", "/api/s5/7/z", "/api/nothing/7/x", "/none", "/api/me/me/me"):
        assert calls(few, path) == calls(many, path), path


def test_a_path_of_many_segments_takes_no_more_steps_than_the_tree_is_deep() -> None:
    routes = table([("/a/a/a/a/z", "GET"), ("/{p}/{q}/{r}/{s}/y", "GET"), ("/a/{q}/a/{s}/x", "GET")])
    assert calls(routes, "/a" * 4000) == calls(routes, "/a" * 40)


segments = st.sampled_from(["a", "b", "{p}"])
shapes = st.builds(
    lambda body, rest: "/x/" + "/".join([*(text.replace("p", f"p{n}") for n, text in enumerate(body)), *rest]),
    st.lists(segments, min_size=1, max_size=3),
    st.sampled_from([[], ["{rest...}"], [""]]),
)


def shadowed(one: str, path: str) -> list[int] | None:
    """Return how specific each segment of the route is for the path, `None` if it does not match."""
    ranks = []
    parts = path[1:].split("/")
    for index, text in enumerate(one[1:].split("/")):
        if index >= len(parts):
            return None
        if text.endswith("...}"):
            return [*ranks, 2]
        if text.startswith("{"):
            if not parts[index]:
                return None
            ranks.append(1)
        elif text == parts[index]:
            ranks.append(0)
        else:
            return None
    return ranks if len(ranks) == len(parts) else None


@given(
    st.lists(shapes, min_size=1, max_size=8, unique=True), st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5)
)
def test_static_goes_before_a_parameter_before_the_rest(routes: list[str], asked: list[str]) -> None:
    path = "/x/" + "/".join(asked)
    ranked = [(rank, route) for route in routes if (rank := shadowed(route, path)) is not None]
    tree = table([(route, "GET") for route in routes])
    if not ranked:
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        redirects = any(shadowed(route, other) is not None for route in routes)
        with pytest.raises(SlashRedirect if redirects else RouteNotFound):
            tree.match("GET", path)
    else:
        assert tree.match("GET", path).route.path == min(ranked)[1]
