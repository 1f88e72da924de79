"""The canonical path: one reading, or none."""

import re
import time
import timeit
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.policy import paths
from gateway.policy.paths import canonical, matched
from gateway.policy.rejections import BadRequest


@pytest.mark.parametrize(
    ("raw", "path", "matched_with"),
    [
        ("/", "/", "/"),
        ("/a", "/a", "/a"),
        ("/a/", "/a/", "/a/"),
        ("/a/b.c", "/a/b.c", "/a/b.c"),
        ("/%61%7E%2D%5f%2ea", "/a~-_.a", "/a~-_.a"),
        ("/%C3%A9", "/%C3%A9", "/é"),
        ("/%c3%a9", "/%C3%A9", "/é"),
        ("/e%CC%81", "/e%CC%81", "/e\u0301"),
        ("/a%20b", "/a%20b", "/a b"),
        ("/a+b", "/a+b", "/a+b"),
        ("/a%2bb", "/a%2Bb", "/a+b"),
        ("/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40", "/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40", "/!$&'()*+,;=:@"),
        ("/100%25", "/100%25", "/100%"),
        ("/%2561", "/%2561", "/%61"),
        ("/%252B", "/%252B", "/%2B"),
        ("/%3Fa%23b", "/%3Fa%23b", "/?a#b"),
        ("/a;x=1/b", "/a;x=1/b", "/a/b"),
        ("/a;x=1;y/b;z", "/a;x=1;y/b;z", "/a/b"),
        ("/a%3bx=1/b;%3B", "/a%3Bx=1/b;%3B", "/a;x=1/b"),
        ("/%61;/", "/a;/", "/a/"),
        ("/...", "/...", "/..."),
        ("/..a/.b/c..", "/..a/.b/c..", "/..a/.b/c.."),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/a:b@c", "/a:b@c", "/a:b@c"),
        ("/{a}|^`", "/%7Ba%7D%7C%5E%60", "/{a}|^`"),
        ('/"<>[]', "/%22%3C%3E%5B%5D", '/"<>[]'),
        ("/-._~!$&'()*+,=:@/", "/-._~!$&'()*+,=:@/", "/-._~!$&'()*+,=:@/"),
        ("/%E2%80%A6", "/%E2%80%A6", "/…"),
        ("/%F0%9F%98%80", "/%F0%9F%98%80", "/😀"),
        ("/" + "a" * 8191, "/" + "a" * 8191, "/" + "a" * 8191),
    ],
)
def test_a_path_is_forwarded_as_sent_and_matched_decoded(raw: str, path: str, matched_with: str) -> None:
    assert canonical(raw) == path
    assert matched(path) == matched_with


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/a//b", ("/a//b", None, None)),
        ("//a/b", ("//a/b", None, None)),
        ("/http://a/b", ("/http://a/b", None, None)),
        ("*", ("*", None, None)),
        ("a:1", ("a:1", None, None)),
        ("http://a/b//c", ("/b//c", "http", "a")),
        ("HTTPS://A:1", ("/", "https", "A:1")),
        ("ftp://u@a/", ("/", "ftp", "u@a")),
    ],
)
def test_a_target_has_parts(target: str, parts: tuple[str, str | None, str | None]) -> None:
    assert paths.parse_target(target) == parts


START = "The path does not begin with /. Send one that does."
DOTS = "The path has a . or .. segment. Resolve it before sending."
SEPARATORS = "The path has a backslash or an encoded slash. Use / only."
EMPTY = "The path has an empty segment. Remove it."
CONTROL = "The path has a control character. Remove it."
HEX = "The path has a % without two hexadecimal digits. Encode a % as %25."
UTF8 = "The path is not UTF-8. Percent-encode it as UTF-8."
ASCII = "The path has characters outside ASCII. Percent-encode them as UTF-8."
QUERY = "The path contains ? or #. Percent-encode them."
LONG = "The path is too long. Send at most 8192 bytes."
ONCE = "The path is percent-encoded several times. Encode it once."


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", START),
        ("a", START),
        ("*", START),
        ("http://a/b", START),
        ("%2Fa", START),
        ("/.", DOTS),
        ("/..", DOTS),
        ("/./a", DOTS),
        ("/a/../b", DOTS),
        ("/a/..", DOTS),
        ("/a/./", DOTS),
        ("/%2e", DOTS),
        ("/%2E%2e/a", DOTS),
        ("/.%2e", DOTS),
        ("/%252e%252e", DOTS),
        ("/a/%252e/b", DOTS),
        ("/%25252e.", DOTS),
        ("/%25%32%65", DOTS),
        ("/a%252f..%252fb", DOTS),
        ("/a%255c..%255cb", DOTS),
        ("/..;x=1/a", DOTS),
        ("/a/.;/b", DOTS),
        ("/..;", DOTS),
        ("/..%3bx", DOTS),
        ("/..%253bx", DOTS),
        ("/%25252525252525252e", ONCE),
        ("/a%2Fb", SEPARATORS),
        ("/a%2fb", SEPARATORS),
        ("/a%5Cb", SEPARATORS),
        ("/a%5cb", SEPARATORS),
        ("/a\\b", SEPARATORS),
        ("//", EMPTY),
        ("//a", EMPTY),
        ("/a//b", EMPTY),
        ("/a//", EMPTY),
        ("/;", EMPTY),
        ("/a/;x=1/b", EMPTY),
        ("/a/;x=1", EMPTY),
        ("/%00", CONTROL),
        ("/a%0d%0ab", CONTROL),
        ("/\x01", CONTROL),
        ("/\t", CONTROL),
        ("/%1f", CONTROL),
        ("/%7f", CONTROL),
        ("/\x7f", CONTROL),
        ("/%C2%85", CONTROL),
        ("/%C2%9F", CONTROL),
        ("/%", HEX),
        ("/%4", HEX),
        ("/%g1", HEX),
        ("/%1g", HEX),
        ("/a%%61", HEX),
        ("/%u0061", HEX),
        ("/%ff", UTF8),
        ("/%C3", UTF8),
        ("/%C0%AE", UTF8),
        ("/%E0%80%AF", UTF8),
        ("/%ED%A0%80", UTF8),
        ("/%F4%90%80%80", UTF8),
        ("/\xe9", ASCII),
        ("/\xc3\xa9", ASCII),
        ("/a?b", QUERY),
        ("/a#b", QUERY),
        ("/" + "a" * 8192, LONG),
    ],
)
def test_an_ambiguous_path_is_rejected(raw: str, expected: str) -> None:
    with pytest.raises(BadRequest) as refused:
        canonical(raw)
    assert (refused.value.status, refused.value.detail) == (400, expected)


# Pieces that matter, so that hypothesis meets them together.
pieces = st.sampled_from(
    [
        "/",
        ".",
        "..",
        "%",
        "25",
        "2e",
        "2E",
        "2f",
        "5c",
        "%2e",
        "%252e",
        "%25",
        "%3b",
        ";",
        "a",
        "é",
        "\\",
        "%00",
        "%C3%A9",
        "%ff",
    ]
)
raws = st.one_of(
    st.lists(pieces, max_size=12).map(lambda found: "/" + "".join(found)),
    st.text(st.characters(max_codepoint=0xFF)).map(lambda found: "/" + found),
)


def canonical_or_none(raw: str) -> str | None:
    try:
        return canonical(raw)
    except BadRequest:
        return None


@given(raws)
@example("/%2561")
def test_the_forwarded_path_decodes_to_the_matched_one(raw: str) -> None:
    path = canonical_or_none(raw)
    if path is not None:
        assert canonical(path) == path
        assert path.isascii()
        assert unquote_to_bytes(path) == unquote_to_bytes(raw)


@given(raws)
@example("/%3b;%3B/%3B")
def test_a_path_is_matched_as_any_service_reads_it(raw: str) -> None:
    path = canonical_or_none(raw)
    if path is not None:
        segments = [segment.partition(";")[0] for segment in raw.split("/")]
        assert matched(path) == unquote("/".join(segments))
        assert all(matched(path)[1:].split("/")[:-1])


@given(raws)
@example("/%25%32%65%25%32%65/a")
@example("/%25252525252525252525252e")
def test_no_number_of_decodings_gives_a_dot_segment(raw: str) -> None:
    path = canonical_or_none(raw)
    if path is None:
        return
    seen = path.encode()
    for _ in range(40):
        segments = seen.replace(b"\\", b"/").split(b"/")
        assert not {segment.partition(b";")[0] for segment in segments} & {b".", b".."}
        seen = unquote_to_bytes(seen)


@given(raws)
def test_an_accepted_path_has_one_segment_for_each_slash(raw: str) -> None:
    path = canonical_or_none(raw)
    if path is not None:
        assert path.count("/") == raw.count("/")
        assert "\\" not in path
        assert "//" not in path


@given(raws | st.from_regex(paths.PLAIN, fullmatch=True))
@example("/a.b/.c")
@example("/a;x=1")
def test_the_shortcut_for_plain_paths_gives_the_same_result(raw: str) -> None:
    short = canonical_or_none(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "PLAIN", re.compile("(?!)"))
        assert canonical_or_none(raw) == short


@pytest.mark.parametrize("raw", ["/" + "%25" * 2730, "/%" + "25" * 4000 + "2e", "/" + "../" * 2700, "/" + ";" * 8000])
def test_a_hostile_path_costs_little(raw: str) -> None:
    assert min(timeit.repeat(lambda: canonical_or_none(raw), time.process_time, repeat=3, number=1)) < 0.1
