"""Which requests a page of ours has made, and where a sign-in leads."""

import pytest

from gateway.policy import origins
from gateway.policy.rejections import CrossOrigin

SAME = [("Sec-Fetch-Site", "same-origin")]


@pytest.mark.parametrize(
    ("scheme", "host", "said", "is_same"),
    [
        ("http", "localhost:8001", [("Origin", "http://localhost:8001")], True),
        ("http", "LOCALHOST:8001", [("origin", "http://localhost:8001")], True),
        ("http", "localhost:8001", [("Origin", "http://LocalHost:8001")], True),
        ("http", "a.example:80", [("Origin", "http://a.example")], True),
        ("https", "a.example:443", [("Origin", "https://a.example")], True),
        ("https", "a.example", [("Origin", "https://a.example"), *SAME], True),
        ("https", "a.example", SAME, True),
        ("https", "a.example", [], False),
        ("https", "a.example", [("Origin", "http://a.example")], False),
        ("https", "a.example", [("Origin", "https://a.example:8443")], False),
        ("https", "a.example", [("Origin", "https://b.a.example")], False),
        ("https", "a.example", [("Origin", "null"), *SAME], False),
        ("https", "a.example", [("Origin", "")], False),
        ("https", "a.example", [("Origin", "https://a.example"), ("Sec-Fetch-Site", "cross-site")], False),
        ("https", "a.example", [*SAME, ("Sec-Fetch-Site", "none")], False),
    ],
)
def test_a_request_is_same_origin_if_all_its_headers_agree(
    scheme: str, host: str, said: list[tuple[str, str]], is_same: bool
) -> None:
    assert origins.is_same_origin(said, scheme, host) is is_same


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_an_unsafe_method_requires_the_same_origin(method: str) -> None:
    origins.check_same_origin(method, SAME, "http", "a.example")
    with pytest.raises(CrossOrigin):
        origins.check_same_origin(method, [], "http", "a.example")


def test_a_safe_method_needs_no_origin_but_a_handshake_does() -> None:
    origins.check_same_origin("GET", [("Origin", "http://evil.example")], "http", "a.example")
    with pytest.raises(CrossOrigin):
        origins.check_same_origin("GET", [("Upgrade", "websocket")], "http", "a.example")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/admin/", "/api/orders", "/api/orders?limit=2&cursor=a%3D", "/a%20b", "/docs?x=//y", "/docs?x=1#y",
        "/docs#/orders/list", "/docs#", "/docs?", "/docs?a?b", "/docs#a?b", "/docs?x=%0d%0a#//evil.example",
    ],
)  # fmt: skip
def test_a_sign_in_redirects_to_paths_of_the_gateway(path: str) -> None:
    assert origins.own_path(path) == path


@pytest.mark.parametrize(
    "said",
    [
        None, "", "admin", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "/%5cevil.example",
        "/%2f/evil.example", "/%2Fevil.example", "/%09/evil.example", "/\t/evil.example", "\t//evil.example",
        "/\n/evil.example", "\x00//evil.example", " //evil.example", "/ /evil.example?\r\nX: y",
        "/x?\r\nSet-Cookie: a=b",
        "https://evil.example", "http:evil.example", "javascript:alert(1)", "data:text/html,x", "/..//evil.example",
        "/../x", "/%2e%2e//x", "/%252e%252e/x", "/a//b", "/x?a b", "/x?\\", "/x#a b", "/x#\\",
        "/x#a#b", "/x#\r\nX: y", "/x#\x7f", "/x#é", "//evil.example#x", "/\\evil.example?x#y", "/\t/evil.example#x",
        "#x", "/x#\n", "/x\n",
        "/\u2028x", "/é", "/x?é",
        "/x?" + "a" * 3000, "/x#" + "a" * 3000, "@evil.example", "/%", "?x",
    ],
)  # fmt: skip
def test_a_sign_in_redirects_nowhere_else(said: str | None) -> None:
    assert origins.own_path(said) == "/"
