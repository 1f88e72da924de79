"""JSON as a person reads it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.portal.json_text import indented, linked

MAX_LENGTH = 100_000
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans(), st.sampled_from([None, (",", ":"), (" ,\t", "\r\n: ")]))
def test_json_is_indented_as_python_does(value: object, ascii_only: bool, separators: tuple[str, str] | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    assert indented(text, MAX_LENGTH) == json.dumps(value, ensure_ascii=ascii_only, indent=4)


@given(st.text(st.sampled_from('{}[]:,"\\ \n1x'), max_size=30))
def test_indenting_changes_only_white_space(text: str) -> None:
    assert re.sub(r"\s", "", indented(text, MAX_LENGTH)) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("[1.10,1e400,-0.0,NaN,12345678901234567890]", "1.10 1e400 -0.0 NaN 12345678901234567890"),
        (r'["\ud800","\u00e9\/","é"]', r'"\ud800" "\u00e9\/" "é"'),
        ('{"a":1,"a":2}', '"a": 1 "a": 2'),
    ],
)
def test_values_are_shown_as_sent(sent: str, seen: str) -> None:
    lines = indented(sent, MAX_LENGTH).splitlines()[1:-1]
    assert " ".join(line.strip().removesuffix(",") for line in lines) == seen


@pytest.mark.parametrize(
    "text", ["", "{no json", '["a', "[1 2]", "[1}", "]", "[[1]", '{"a" 1}', '"a" "b"', "[]\x0b[]", '["a\\"]', "<html>"]
)
def test_text_that_is_not_json_is_unchanged(text: str) -> None:
    assert indented(text, MAX_LENGTH) == text


def test_very_long_json_is_unchanged() -> None:
    deep = "[" * 20_000 + "]" * 20_000
    assert indented(deep, MAX_LENGTH) == deep


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ('"https://a.example/?b=1&c=2"', '&quot;<a href="https://a.example/?b=1&amp;c=2" rel="nofollow">'),
        ('"javascript:alert(1)"', "&quot;javascript:alert(1)&quot;"),
        ('"http://a.example/\'><script>"', "&quot;http://a.example/&#x27;&gt;&lt;script&gt;&quot;"),
        ("<b>https://a.example</b>", "&lt;b&gt;https://a.example&lt;/b&gt;"),
    ],
)
def test_urls_become_links_and_everything_else_is_escaped(text: str, html: str) -> None:
    assert linked(text).startswith(html)
    assert re.sub("</?a[^>]*>", "", linked(text)).count("<") == 0
