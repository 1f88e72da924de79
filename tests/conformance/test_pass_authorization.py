"""A service that gets the client's own `Authorization`, at both doors."""

import jwt
import pytest
from tests.conformance.cases.case import OK, ask
from tests.conformance.client import Reply, once
from tests.conformance.conftest import Fleet
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Seen, Upstream

FORGED = "forged"
SPELLINGS = ["X-Gatehouse-Passport", "x-gatehouse-passport", "X_Gatehouse_Passport", "X-GATEHOUSE_PASSPORT"]


def send(gateway: Gateway, upstream: Upstream, path: str, *headers: str) -> tuple[Reply, Seen | None]:
    """Return the response, and what the service got."""
    upstream.begin([OK])
    reply = once(gateway.port, ask(f"GET {path}", *headers))
    return reply, upstream.seen[0] if upstream.seen else None


def claims(passport: str | None) -> dict[str, str]:
    """Return whom the passport is for, and at which service."""
    assert passport
    found = jwt.decode(passport, options={"verify_signature": False})
    return {name: found[name] for name in ("sub", "aud", "token_type")}


@pytest.mark.parametrize("door", DOORS)
def test_the_service_gets_the_clients_token_and_a_passport_beside_it(
    door: Door, fleet: Fleet, upstream: Upstream
) -> None:
    gateway = fleet[door, False]
    token = gateway.token()
    reply, seen = send(gateway, upstream, "/api/passed", f"Authorization: Bearer {token}")
    assert reply.status == 200
    assert seen is not None
    assert seen.all("Authorization") == [f"Bearer {token}"]
    assert claims(seen.get("X-Gatehouse-Passport")) == {"sub": "2", "aud": "passed", "token_type": "passport"}
    assert seen.get("Request-User-Id") == "2"


@pytest.mark.parametrize("door", DOORS)
def test_a_token_of_another_issuer_is_401_as_at_every_service(door: Door, fleet: Fleet, upstream: Upstream) -> None:
    reply, seen = send(fleet[door, False], upstream, "/api/passed", "Authorization: Bearer another")
    assert (reply.status, seen) == (401, None)


@pytest.mark.parametrize("door", DOORS)
def test_another_scheme_is_passed_on_at_a_public_route_without_a_user(
    door: Door, fleet: Fleet, upstream: Upstream
) -> None:
    reply, seen = send(fleet[door, False], upstream, "/api/passed", "Authorization: Basic eDp5")
    assert reply.status == 200
    assert seen is not None
    assert seen.all("Authorization") == ["Basic eDp5"]
    assert (seen.get("X-Gatehouse-Passport"), seen.get("Request-User-Id")) == (None, None)


@pytest.mark.parametrize("door", DOORS)
def test_a_cookie_is_not_passed_on(door: Door, fleet: Fleet, upstream: Upstream) -> None:
    gateway = fleet[door, False]
    cookie = f"Cookie: gatehouse-access={gateway.token()}"
    _, seen = send(gateway, upstream, "/api/passed", cookie, "Sec-Fetch-Site: same-origin")
    assert seen is not None
    assert (seen.all("Authorization"), seen.get("Cookie")) == ([], None)
    assert claims(seen.get("X-Gatehouse-Passport"))["sub"] == "2"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/api/passed", "/api/open"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_clients_own_passport_header_reaches_no_service(
    name: str, path: str, door: Door, fleet: Fleet, upstream: Upstream
) -> None:
    _, seen = send(fleet[door, False], upstream, path, f"{name}: {FORGED}")
    assert seen is not None
    assert not [header for header in seen.headers if FORGED in header[1]]
    assert seen.all("Authorization") == seen.all("X-Gatehouse-Passport") == []
