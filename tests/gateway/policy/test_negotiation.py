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
def test_whatever_is_accepted_there_is_an_answer(accept: str) -> None:
    assert prefers_page(accept) in {True, False}
    # As the doors have it, whatever stands beside it in a list.
    assert prefers_page(f"{accept},application/json;q=0") in {True, False}
