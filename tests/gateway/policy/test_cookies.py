"""The gateway's cookies among others, and never a service's."""

import pytest

from gateway.policy import cookies


@pytest.mark.parametrize(
    ("said", "scheme", "value"),
    [
        ([], "http", None),
        (["gatehouse-access=t"], "http", "t"),
        (["a=1; gatehouse-access=t;b=2"], "http", "t"),
        (["a=1", "gatehouse-access=t"], "http", "t"),
        (["gatehouse-access=t; gatehouse-access=t"], "http", "t"),
        (["gatehouse-access=t; gatehouse-access=u"], "http", None),
        (["gatehouse-access="], "http", None),
        (["gatehouse-access"], "http", None),
        (["GATEHOUSE-ACCESS=t"], "http", None),
        (["__Host-gatehouse-access=t"], "http", None),
        (["gatehouse-access=t"], "https", None),
        (["__Host-gatehouse-access=t; gatehouse-access=u"], "https", "t"),
    ],
)
def test_a_cookie_counts_once_under_the_name_for_its_scheme(said: list[str], scheme: str, value: str | None) -> None:
    assert cookies.read([("Cookie", each) for each in said], cookies.ACCESS, scheme) == value


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a=1; b=2", "a=1; b=2"),
        ("gatehouse-access=t", None),
        ("gatehouse-access=t; a=1;gatehouse-refresh=r", "a=1"),
        ("__Host-gatehouse-access=t; a=1", "a=1"),
        ("__host-Gatehouse-Refresh=t; a=1", "a=1"),
        (" gatehouse-access =t; a=1", "a=1"),
        ("my-gatehouse-access=t", "my-gatehouse-access=t"),
    ],
)
def test_a_service_receives_all_cookies_but_the_gateway_s(said: str, kept: str | None) -> None:
    expected = [("X", "1")] + ([("cookie", kept)] if kept else [])
    assert cookies.without_own([("X", "1"), ("cookie", said)]) == expected


@pytest.mark.parametrize(
    ("set_cookie", "is_ours"),
    [
        ("a=1", False),
        ("gatehouse=1; Path=/", False),
        ("a=gatehouse-access", False),
        ("gatehouse-access=1", True),
        ("gatehouse-refresh=; Max-Age=0", True),
        ("\t__HOST-gatehouse-access =1", True),
        ("=gatehouse-access=1", True),
        ("==gatehouse-access=1", True),
        ("gatehouse-access; Path=/", True),
    ],
)
def test_a_service_cannot_set_the_gateway_s_cookies(set_cookie: str, is_ours: bool) -> None:
    assert cookies.sets_own(set_cookie) is is_ours
