"""Who wants a page."""

import pytest

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
