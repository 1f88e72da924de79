"""What a browser gets at the DRF door is what the service answered, on a page."""

import html
import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.test import Client
from tests.gateway.service import Reply, Service

pytestmark = pytest.mark.django_db
SignedIn = Callable[..., dict[str, str]]

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON = ("Content-Type", "application/json")


@pytest.fixture
def service(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A service behind every route."""
    service = serve()
    routes = [
        {"path": "/api/open", "methods": ["GET", "POST"], "allow": "public"},
        {"path": "/api/things", "methods": ["GET", "POST"], "allow": "authenticated"},
        {"path": "/api/asks", "methods": ["GET", "OPTIONS"], "allow": "authenticated"},
        {"path": "/api/staff", "methods": ["GET"], "allow": ["admin"]},
    ]
    configure(
        services={"things": {"url": service.url}},
        routes=[route | {"service": "things"} for route in routes],
    )
    return service


def pairs(reply: Any) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in reply.items()]


def shown(reply: Any) -> str:
    """Return the text that the page shows as the answer's content."""
    found = re.search(r'<pre class="response-info" tabindex="0">([^<]*)</pre>', reply.content.decode())
    assert found, reply.content
    return html.unescape(found[1])


def test_repeated_headers_reach_the_browser(service: Service, client: Client) -> None:
    twice = [
        ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("Link", "</1>; rel=next"), ("Link", "</0>; rel=prev"),
    ]  # fmt: skip
    service.answer = lambda seen: Reply(200, b"{}", [JSON, *twice])
    reply = client.get("/api/open", headers=BROWSER)
    assert sorted(header for header in reply.items() if header[0] in {"Set-Cookie", "Link"}) == sorted(twice)
    page = html.unescape(reply.content.decode())
    assert page.count("<b>Link:</b>") == 2
    assert "a=1" not in page, "a cookie that no script may read"


ABOUT_THE_JSON = [
    ("ETag", '"x"'), ("Last-Modified", "Sat, 28 Nov 2026 09:00:00 GMT"), ("Cache-Control", "public, max-age=600"),
    ("Cache-Control", "immutable"), ("CDN-Cache-Control", "max-age=600"), ("Surrogate-Control", "max-age=600"),
    ("Expires", "Sat, 28 Nov 2027 09:00:00 GMT"), ("Pragma", "x"), ("Age", "5"), ("Digest", "md5=x"),
    ("Content-Digest", "sha-256=:x:"), ("Repr-Digest", "sha-256=:x:"), ("Content-MD5", "x"),
    ("Content-Disposition", "attachment; filename=x.json"), ("Accept-Ranges", "bytes"),
    ("Content-Range", "bytes 0-1/2"), ("Content-Language", "de"), ("Content-Location", "/x.json"),
    ("Signature", "sig=:x:"), ("Signature-Input", "sig=()"), ("X-Frame-Options", "SAMEORIGIN"),
    ("Content-Security-Policy", "default-src *"), ("Content-Security-Policy-Report-Only", "default-src *"),
    ("Referrer-Policy", "unsafe-url"),
]  # fmt: skip
ABOUT_THE_ANSWER = [
    ("Location", "/api/things/7"), ("Retry-After", "3"), ("X-Own", "1"), ("WWW-Authenticate", "Basic"),
    ("Allow", "GET"), ("Vary", "Cookie"),
]  # fmt: skip


def test_a_page_has_the_response_s_headers_except_those_of_its_content(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(201, b"{}", [JSON, *ABOUT_THE_JSON, *ABOUT_THE_ANSWER])
    reply = client.get("/api/open", headers=BROWSER)
    got = pairs(reply)
    service_s = {(name.lower(), value) for name, value in ABOUT_THE_JSON}
    assert not service_s & set(got)
    assert ("cache-control", "no-store") in got
    for name, value in ABOUT_THE_ANSWER:
        assert (name.lower(), "Cookie, Accept" if name == "Vary" else value) in got
    assert reply["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in reply["Content-Security-Policy"]
    names = [name for name, _ in got]
    assert len(names) == len(set(names))
    # A person reads what a program gets.
    assert "<b>ETag:</b>" in reply.content.decode()


@pytest.mark.parametrize("path", ["/", "/api/things", "/api/nothing", "/docs", "/redoc"])
def test_a_page_that_shows_the_user_is_never_cacheable(
    service: Service, client: Client, signed_in: SignedIn, path: str
) -> None:
    reply = client.get(path, headers=BROWSER | signed_in())
    assert reply["Cache-Control"] == "no-store"
    assert ">user<" in reply.content.decode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/things", 200),
        ("GET", "/api/staff", 403),
        ("DELETE", "/api/things", 405),
        ("GET", "/api/nothing", 404),
        ("OPTIONS", "/api/asks", 200),
        ("OPTIONS", "/api/nothing", 404),
        ("GET", "/api/a%2Fb", 400),
    ],
)
def test_a_page_shows_the_signed_in_user(
    service: Service, client: Client, signed_in: SignedIn, method: str, path: str, status: int
) -> None:
    for name in ("Authorization", "Cookie"):
        value = signed_in()["Authorization"]
        cookie = f"gatehouse-access={value.removeprefix('Bearer ')}"
        headers = BROWSER | {name: value if name == "Authorization" else cookie, "Sec-Fetch-Site": "same-origin"}
        reply = client.generic(method, "/x", headers=headers, RAW_URI=path)
        page = reply.content.decode()
        assert reply.status_code == status, page
        assert ">user<" in page
        assert "Sign in" not in page


@pytest.mark.parametrize("path", ["/", "/api/open", "/api/nothing", "/login/", "/docs", "/redoc"])
def test_a_page_declares_its_language_and_viewport(service: Service, client: Client, path: str) -> None:
    page = client.get(path, headers=BROWSER).content.decode()
    assert '<html lang="en">' in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page


@pytest.mark.parametrize("path", ["/", "/api/open", "/api/nothing", "/login/", "/docs", "/redoc"])
def test_every_page_has_the_same_header_and_stylesheet(service: Service, client: Client, path: str) -> None:
    page = client.get(path, headers=BROWSER).content.decode()
    assert page.count('<header class="gh-header">') == 1
    assert '<link rel="stylesheet" href="/static/chassis/look.css?v=' in page
    assert {"/", "/docs", "/redoc"} <= set(re.findall(r'href="([^"]*)"', page))


def test_a_browser_keeps_a_static_file_for_as_long_as_its_content_stays(client: Client) -> None:
    page = client.get("/login/", headers=BROWSER).content.decode()
    (url,) = re.findall(r'href="(/static/chassis/look.css[^"]*)"', page)
    path, _, query = url.partition("?")
    assert re.fullmatch("v=[0-9a-f]{12}", query)
    kept = []
    for asked in (url, path, f"{path}?v=000000000000"):
        with closing(client.get(asked)) as reply:
            kept.append(reply["Cache-Control"])
    assert kept == ["max-age=31536000, public, immutable", "max-age=60, public", "no-store"]
    assert client.get("/static/nothing.css?v=000000000000").status_code == 404


def test_a_page_loads_what_it_links_to_from_here(service: Service, client: Client) -> None:
    for path in ("/", "/api/open", "/login/", "/docs", "/redoc"):
        page = client.get(path, headers=BROWSER).content.decode()
        loaded = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="([^"]*)"', page)
        assert loaded
        for each in loaded:
            with closing(client.get(html.unescape(each))) as reply:
                assert reply.status_code == 200, each


TEXTS = {
    "numbers": (b'{"price":1.10,"big":1e400}', '{\n    "price": 1.10,\n    "big": 1e400\n}'),
    "NaN": (b"[NaN,-Infinity]", "[\n    NaN,\n    -Infinity\n]"),
    "a lone surrogate": (rb'"\ud800 \u00e9"', r'"\ud800 \u00e9"'),
    "brackets": (b"[" * 20_000 + b"]" * 20_000, "[" * 20_000 + "]" * 20_000),
    "no JSON": (b"{no json", "{no json"),
    "markup": (b'"</pre><script>"', '"</pre><script>"'),
    "one name twice": (b'{"a":1,"a":2}', '{\n    "a": 1,\n    "a": 2\n}'),
    "nothing": (b"", ""),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_page_shows_the_service_s_text(service: Service, client: Client, case: str) -> None:
    sent, text = TEXTS[case]
    service.answer = lambda seen: Reply(200, sent, [JSON])
    reply = client.get("/api/open", headers=BROWSER)
    assert reply.status_code == 200
    assert shown(reply) == text
    assert reply["Content-Type"] == "text/html; charset=utf-8"


AS_IT_IS = {
    "CSV": Reply(200, b"a,b", [("Content-Type", "text/csv"), ("ETag", '"x"')]),
    "a file": Reply(200, b"{}", [JSON, ("Content-Encoding", "zstd")]),
    "not UTF-8": Reply(200, b'"\xff"', [JSON]),
    "a UTF-8 surrogate": Reply(200, b'"\xed\xa0\x80"', [JSON]),
    "lines of JSON": Reply(200, b"{}\n{}", [("Content-Type", "application/x-ndjson")]),
    "of no kind": Reply(200, b"?", []),
    "HTML": Reply(200, b"<script>", [("Content-Type", "text/html")]),
    "no content": Reply(204, b"", []),
    "reset": Reply(205, b"", [JSON]),
    "reset with content": Reply(205, b"{}", [JSON]),
    "a part": Reply(206, b"[1", [JSON, ("Content-Range", "bytes 0-1/9")]),
    "unchanged": Reply(304, b"", [("ETag", '"x"')]),
}


@pytest.mark.parametrize("case", AS_IT_IS)
def test_content_that_no_page_can_show_is_sent_unchanged(service: Service, client: Client, case: str) -> None:
    answer = AS_IT_IS[case]
    service.answer = lambda seen: answer
    reply = client.get("/api/open", headers=BROWSER)
    content = b"".join(reply.streaming_content) if reply.streaming else reply.content  # type: ignore[arg-type]
    assert (reply.status_code, content) == (answer.status, answer.body)
    got = dict(pairs(reply))
    assert {name.lower(): value for name, value in answer.headers}.items() <= got.items()
    assert got["vary"] == "Accept"
    assert got["content-security-policy"].startswith("sandbox;"), "no script of it has the gateway's origin"


@pytest.mark.parametrize("headers", [BROWSER, {"Accept": "application/json"}], ids=["page", "JSON"])
@pytest.mark.parametrize("status", [201, 302, 404, 422, 500, 599, 600, 999])
def test_a_page_has_the_service_s_status(
    service: Service, client: Client, headers: dict[str, str], status: int
) -> None:
    service.answer = lambda seen: Reply(status, b"[]", [JSON])
    assert client.get("/api/open", headers=headers).status_code == status


@pytest.mark.parametrize(("detail", "shown"), [("Not found.", ""), ("No order 9.", "No order 9.")])
def test_a_problem_does_not_repeat_its_status_in_words(
    service: Service, client: Client, detail: str, shown: str
) -> None:
    problem = {"title": "Not Found", "status": 404, "detail": detail}
    service.answer = lambda seen: Reply.json(problem, 404)
    page = client.get("/api/open", headers=BROWSER).content.decode()
    alert = page.partition('role="alert" id="problem">')[2].partition("</div>")[0]
    assert " ".join(alert.split()) == f"<strong>404 Not Found.</strong> {shown}".strip()


def test_options_gets_the_response_of_a_program(service: Service, client: Client) -> None:
    page, data = (client.options("/api/open", headers=headers) for headers in (BROWSER, {"Accept": "application/json"}))
    assert (page.status_code, page.content, page["Allow"]) == (204, b"", "GET, HEAD, OPTIONS, POST")
    assert {name for name, _ in pairs(page)} == {name for name, _ in pairs(data)}


HEADED = {**{f"text: {name}": Reply(200, text, [JSON]) for name, (text, _) in TEXTS.items()}, **AS_IT_IS}


@pytest.mark.parametrize("case", HEADED)
def test_head_of_a_page_equals_its_get(service: Service, client: Client, case: str) -> None:
    service.answer = lambda seen: HEADED[case]
    get, head = (client.generic(method, "/api/open", headers=BROWSER) for method in ("GET", "HEAD"))
    expected, got = ([pair for pair in pairs(reply) if pair[0] != "x-request-id"] for reply in (get, head))
    assert got == expected


@pytest.mark.parametrize(("path", "status"), [("/api/nothing", 404), ("/api/staff", 403), ("/", 200)])
def test_head_of_the_gateway_s_own_pages_equals_their_get(
    service: Service, client: Client, signed_in: SignedIn, path: str, status: int
) -> None:
    get, head = (client.generic(method, path, headers=BROWSER | signed_in()) for method in ("GET", "HEAD"))
    assert (get.status_code, head.status_code) == (status, status)
    expected, got = ([pair for pair in pairs(reply) if pair[0] != "x-request-id"] for reply in (get, head))
    assert got == expected
