"""Which headers go on, in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.headers import from_client, from_upstream, to_upstream, varying_by_accept
from gateway.policy.rejections import BadRequest, InvalidUpstreamResponse

VIA = ("via", "1.1 gatehouse")
KEPT = [("Accept", "*/*"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("accept", "text/html"), ("X-Empty", "")]

HOP_BY_HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Proxy-Authenticate",
    "Proxy-Authorization",
]


def test_other_headers_are_forwarded_unchanged() -> None:
    assert from_client(KEPT, trusted=False) == KEPT
    assert from_client([], trusted=False) == []


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_are_dropped_in_both_directions(name: str) -> None:
    for spelling in name, name.lower(), name.upper():
        headers = [("A", "1"), (spelling, "x"), ("B", "2")]
        assert from_client(headers, trusted=True) == [("A", "1"), ("B", "2")]
        assert from_upstream(headers) == [("A", "1"), ("B", "2"), VIA]


@pytest.mark.parametrize(
    "name",
    [
        "request-user-id",
        "Request-User-Id",
        "REQUEST-USER-ID",
        "request_user_id",
        "Request_User-ID",
        "REQUEST_USER_ID",
        "Content_Type",
        "a_b",
        "_",
        "Forwarded",
        "X-Real-IP",
        "x-real-ip",
        "X-Forwarded",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-FORWARDED-HOST",
        "X_Forwarded_For",
        "X_Forwarded_Port",
        "Authorization",
        "authorization",
        "Host",
        "Content-Length",
        "Expect",
        "X-Request-ID",
        "X-Request-Id",
        "X_Request_ID",
        "x-envoy-expected-rq-timeout-ms",
        "X-Envoy-Expected-Rq-Timeout-Ms",
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_headers_reserved_for_the_gateway_are_dropped_from_any_client(name: str, *, trusted: bool) -> None:
    assert from_client([("A", "1"), (name, "7"), (name, "8")], trusted=trusted) == [("A", "1")]


@pytest.mark.parametrize("name", ["X-Forwarded-Port", "X-Forwarded-Prefix", "x-forwarded-ssl"])
def test_only_a_trusted_proxy_may_send_other_forwarding_headers(name: str) -> None:
    assert from_client([(name, "1")], trusted=False) == []
    assert from_client([(name, "1")], trusted=True) == [(name, "1")]


@pytest.mark.parametrize("name", ["Request-User", "X-Request-User-Id", "X-Forward", "Hosts", "XForwarded-For"])
def test_headers_with_similar_names_are_forwarded(name: str) -> None:
    assert from_client([(name, "1")], trusted=False) == [(name, "1")]


@pytest.mark.parametrize("connection", ["X-Mine", "x-mine", "close, X-Mine", "close ,\tX-MINE ", "X-Mine,,", ",X-Mine"])
def test_headers_named_by_connection_are_dropped_in_both_directions(connection: str) -> None:
    headers = [("X-Mine", "1"), ("Connection", connection), ("X-Other", "2"), ("x-mine", "3")]
    assert from_client(headers, trusted=False) == [("X-Other", "2")]
    assert from_upstream(headers) == [("X-Other", "2"), VIA]


def test_each_of_several_connection_headers_counts() -> None:
    headers = [("connection", "A"), ("A", "1"), ("B", "2"), ("CONNECTION", "B"), ("C", "3")]
    assert from_client(headers, trusted=False) == [("C", "3")]


MALFORMED = [
    ("", "1"),
    ("A B", "1"),
    ("A:", "1"),
    ("A\r\nB", "1"),
    ("A\n", "1"),
    ("Ä", "1"),
    ("A\x00", "1"),
    ('"A"', "1"),
    ("A(", "1"),
    ("A", "1\r\nB: 2"),
    ("A", "1\n"),
    ("A", "\r"),
    ("A", "\x00"),
    ("A", "\x01"),
    ("A", "\x0b"),
    ("A", "\x1f"),
    ("A", "\x7f"),
    ("A", "€"),
    ("Connection", "x\x00"),
    ("request_user_id", "\n"),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_header_is_rejected_in_both_directions(name: str, value: str) -> None:
    with pytest.raises(BadRequest) as refused:
        from_client([("X", "1"), (name, value)], trusted=True)
    assert refused.value.status == 400
    assert refused.value.detail.isprintable()
    with pytest.raises(InvalidUpstreamResponse) as broken:
        from_upstream([("X", "1"), (name, value)])
    assert (broken.value.status, broken.value.detail) == (502, "The service sent a malformed header.")


@pytest.mark.parametrize("value", ["", " ", "a\tb", "a b", "\x80\xff", "é", "{}[]<>\"'\\", "~!"])
@pytest.mark.parametrize("name", ["A", "!#$%&'*+-.^`|~09Az"])
def test_any_valid_name_and_value_is_forwarded(name: str, value: str) -> None:
    assert from_client([(name, value)], trusted=False) == [(name, value)]
    assert from_upstream([(name, value)]) == [(name, value), VIA]


def test_repeated_headers_of_a_response_keep_their_order() -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("X_Under", "1"),
        ("set-cookie", "b=2"),
        ("Content-Length", "3"),
        ("Set-Cookie", "a=1"),
    ]
    assert from_upstream(headers) == [*headers, VIA]


OWN = {
    "address": "192.0.2.1",
    "scheme": "https",
    "host": "api.example",
}
FORWARDED = [
    VIA,
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "api.example"),
]


def test_the_service_receives_the_user_and_a_passport() -> None:
    assert to_upstream([("A", "1")], **OWN, user_id="7", passport="p.q.r") == [
        ("A", "1"),
        *FORWARDED,
        ("request-user-id", "7"),
        ("authorization", "Bearer p.q.r"),
    ]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_each_message_gets_via_with_its_http_version(version: str) -> None:
    said = [("Via", "1.0 a"), ("via", "1.1 b (x)")]
    assert from_client(said, trusted=True) == []
    assert ("via", f"{version} gatehouse") in to_upstream([], **OWN, version=version)
    onward = to_upstream([], **OWN, version=version, via="1.0 a, 1.1 b (x)")
    assert ("via", f"1.0 a, 1.1 b (x), {version} gatehouse") in onward
    assert from_upstream(said, version) == [*said, ("via", f"{version} gatehouse")]


def test_the_service_receives_no_user_without_a_token() -> None:
    assert to_upstream([], **OWN, user_id=None, passport=None) == FORWARDED
    assert to_upstream([], **OWN) == FORWARDED


@pytest.mark.parametrize(
    ("said", "vary"),
    [
        ([], "Accept"),
        (["Cookie"], "Cookie, Accept"),
        (["Cookie", "Origin, User-Agent"], "Cookie, Origin, User-Agent, Accept"),
        (["accept"], "accept"),
        (["*"], "*"),
        ([""], "Accept"),
    ],
)
def test_vary_accept_is_added_to_the_service_s_vary(said: list[str], vary: str) -> None:
    headers = [("A", "1"), *(("Vary", value) for value in said)]
    assert [value for name, value in varying_by_accept(headers) if name.lower() == "vary"] == [vary]
    assert ("A", "1") in varying_by_accept(headers)


names = st.sampled_from(
    [
        "request-user-id",
        "Request_User_Id",
        "Authorization",
        "AUTHORIZATION",
        "X-Forwarded-For",
        "x-request-id",
        "A",
        "Connection",
    ]
)


@given(
    st.lists(st.tuples(names, st.sampled_from(["request-user-id", "authorization, a", "7", "close"]))), st.booleans()
)
def test_each_header_of_the_gateway_is_sent_once_for_any_client(said: list[tuple[str, str]], trusted: bool) -> None:
    sent = to_upstream(from_client(said, trusted=trusted), **OWN, user_id="7", passport="p")
    wsgi = [name.lower().replace("_", "-") for name, _ in sent]
    for name in "request-user-id", "authorization", "x-forwarded-for":
        assert wsgi.count(name) == 1
    assert "x-request-id" not in wsgi
    assert dict(sent)["request-user-id"] == "7"
