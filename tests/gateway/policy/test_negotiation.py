"""Who wants a page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.negotiation import prefers_page


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("text/event-stream", False),
        ("text/css,*/*;q=0.1", False),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("text/*", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", True),
        ("text/html, */*", True),
        ("text/html, application/json", True),
        ("application/json, text/html", False),
        ("application/json;q=0.5, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=0.5, */*", False),
        ("text/html;level=1;q=0.4, application/*;q=0.3", True),
        ("text/html;q=nonsense", True),
        ("text/plain", False),
        (",;,text/html;;", True),
    ],
)
def test_a_browser_prefers_a_page_and_a_program_does_not(accept: str, page: bool) -> None:
    assert prefers_page(accept) is page


XHTML = "text/html,application/xhtml+xml,application/xml;q=0.9"
# What clients send by default.
BROWSERS = {
    "Chrome": f"{XHTML},image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "Firefox": f"{XHTML},*/*;q=0.8",
    "Firefox 66 to 131": f"{XHTML},image/avif,image/webp,*/*;q=0.8",
    "Safari": f"{XHTML},*/*;q=0.8",
    "Internet Explorer 11": "text/html, application/xhtml+xml, */*",
    "Opera 12": "text/html, application/xml;q=0.9, application/xhtml+xml, image/png, image/webp, image/jpeg, "
    "image/gif, image/x-xbitmap, */*;q=0.1",
    "Lynx": "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01",
    "Lynx 2.9": "text/html, text/plain, text/sgml, text/css, */*;q=0.01",
    "w3m": "text/html, text/*;q=0.5, image/*",
    "w3m with a mailcap": "text/html, text/*;q=0.5, image/*, application/*, video/*, audio/*, message/*, inode/*",
    "the forms of the browsable API": "text/html; q=1.0, */*",
}
PROGRAMS = {
    "curl, requests, Go and wget": "*/*",
    "Java up to 18": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "Java": "text/html, image/gif, image/jpeg, */*; q=0.2",
    "axios": "application/json, text/plain, */*",
    "jQuery": "application/json, text/javascript, */*; q=0.01",
    "Spring's RestTemplate": "text/plain, application/json, application/*+json, */*",
    "Spring's RestTemplate, of text": "text/plain, */*",
    "Swagger UI": "application/json",
    "EventSource": "text/event-stream",
    "an <img> in Chrome": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
}


@pytest.mark.parametrize("accept", BROWSERS.values(), ids=BROWSERS)
def test_accept_headers_of_real_browsers_get_pages(accept: str) -> None:
    assert prefers_page(accept)


@pytest.mark.parametrize("accept", PROGRAMS.values(), ids=PROGRAMS)
def test_accept_headers_of_real_programs_get_data(accept: str) -> None:
    assert not prefers_page(accept)


parts = st.sampled_from(
    [
        "text/html",
        "text/",
        "*/*",
        "application/json",
        ",",
        ";",
        "q",
        "=",
        "0.5",
        "1.0000",
        "-1",
        "nan",
        " ",
        "\t",
        '"',
        "\xe9",
    ]
)


@given(
    st.lists(parts, max_size=12).map("".join) | st.text(st.characters(max_codepoint=0xFF)).map("text/html;q={}".format)
)
def test_any_accept_header_gets_a_response(accept: str) -> None:
    assert prefers_page(accept) in {True, False}
    # As the doors have it, whatever stands beside it in a list.
    assert prefers_page(f"{accept},application/json;q=0") in {True, False}
