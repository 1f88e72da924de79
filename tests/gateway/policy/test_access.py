"""Who is asking, and whether the route lets them."""

import dataclasses

import pytest

from gateway.policy.access import Identity, bearer, check
from gateway.policy.rejections import Forbidden, InvalidToken, Unauthenticated

ADMIN = Identity("1", "admin", "admin", "s1")
USER = Identity(user_id="2", username="user", role="default", session="s2")


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("", None),
        ("Basic dTpw", None),
        ("Basic Bearer", None),
        ("Bearerx abc", None),
        ("abc.def", None),
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        ("  Bearer   a.b-c_d~e+f/g== ", "a.b-c_d~e+f/g=="),
        ("Basic dTpw,Bearer abc", None),
    ],
)
def test_the_token_is_what_follows_bearer(value: str, token: str | None) -> None:
    assert bearer(value) == token


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "bearer\tabc",
        "Bearer a b",
        "Bearer a,b",
        "Bearer =a",
        "Bearer a=b",
        "Bearer ä",
        "Bearer a;b",
        'Bearer "a"',
        "Bearer abc,Bearer abc",
        "Bearer abc,Basic dTpw",
        "Bearer abc, Bearer def",
        "Bearer, Bearer abc",
    ],
)
def test_a_malformed_bearer_is_an_invalid_token(value: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        bearer(value)
    assert refused.value.status == 401
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'}
    assert refused.value.detail == "The Authorization header is malformed. Send `Authorization: Bearer <token>`."


@pytest.mark.parametrize(
    ("allow", "identity"),
    [
        ("public", None), ("public", USER), ("public", ADMIN), ("authenticated", USER), ("authenticated", ADMIN),
        (("admin",), ADMIN), (("admin", "default"), USER), (["default", "admin"], ADMIN),
    ],
)  # fmt: skip
def test_a_route_admits_the_roles_it_allows(allow: str | tuple[str, ...], identity: Identity | None) -> None:
    check(allow, identity)


@pytest.mark.parametrize("allow", ["authenticated", ("admin",), ("admin", "default"), (), "admin"])
def test_without_a_user_only_public_routes_are_allowed(allow: str | tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        check(allow, None)
    assert (refused.value.status, refused.value.headers) == (401, {"WWW-Authenticate": 'Bearer realm="api"'})


@pytest.mark.parametrize(
    ("allow", "roles"),
    [
        (("admin",), "admin"),
        (("admin", "editor"), "admin or editor"),
        ((), ""),
        ("default", "default"),
        ("admin", "admin"),
    ],
)
def test_a_missing_role_is_reported_with_the_allowed_roles(allow: str | tuple[str, ...], roles: str) -> None:
    with pytest.raises(Forbidden) as refused:
        check(allow, USER)
    assert (refused.value.status, refused.value.headers) == (403, {})
    assert refused.value.detail == f"This is for the role {roles}; yours is default."


def test_an_identity_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        USER.role = "admin"  # type: ignore[misc]
