"""At both doors the file of recent problems has what is known of each failed request."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import DOORS, Door, Gateway, free_port
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import wait_until


def respond(seen: Seen) -> Reply:
    return Reply(status=int(seen.target.rpartition("/")[2].partition("?")[0]))


@pytest.fixture(scope="module", params=DOORS)
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    door: Door = request.param
    service = Service(respond)
    live, dead = service.url, f"http://127.0.0.1:{free_port()}"
    route = {"methods": ["GET"], "allow": "public"}
    config = {
        "services": {"fine": {"url": live}, "half": {"url": [dead, live]}, "gone": {"url": dead}},
        "routes": [
            route | {"path": "/fine/{status}", "service": "fine"},
            route | {"path": "/half/{status}", "service": "half", "retry": {"on": [503], "attempts": 2}},
            route | {"path": "/gone", "service": "gone"},
            route | {"path": "/limited", "service": "fine", "allow": "authenticated", "rate_limit": "1/hour"},
            route | {"path": "/secret", "service": "fine", "allow": ["admin"]},
        ],
    }
    with Gateway(door, tmp_path_factory.mktemp("var"), config) as running:
        yield running
    service.stop()


class Asked:
    """A request at a gateway, and what is kept of it."""

    def __init__(self, gateway: Gateway, path: str, **headers: str) -> None:
        self.file = gateway.var / "gateway" / "problems.jsonl"
        sent = urllib.request.Request(gateway.url + path, headers=headers)
        try:
            with urllib.request.urlopen(sent, timeout=30) as response:
                self.status, self.request_id = response.status, response.headers["X-Request-ID"]
        except urllib.error.HTTPError as exc:
            self.status, self.request_id = exc.code, exc.headers["X-Request-ID"]

    def kept(self) -> dict[str, Any] | None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return next((each for each in map(json.loads, lines) if each["request_id"] == self.request_id), None)

    def problem(self) -> dict[str, Any]:
        found: dict[str, Any] = wait_until(self.kept, f"{self.request_id} in {self.file}")
        assert found["status"] == self.status
        return found


def bearer(gateway: Gateway, user_id: str = "7") -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token(user_id)}"}


def test_a_service_that_cannot_be_reached_is_kept_with_its_address_and_try(gateway: Gateway) -> None:
    found = Asked(gateway, "/gone?token=hidden").problem()
    assert (found["status"], found["code"], found["service"]) == (502, "upstream_unreachable", "gone")
    assert (found["method"], found["path"], found["route"]) == ("GET", "/gone", "/gone")
    assert found["client"] == "127.0.0.1"
    assert found["tries"]
    for address, what, seconds in found["tries"]:
        assert address == found["address"]
        assert what.startswith("cannot be reached")
        assert 0 <= seconds < 30
    assert "hidden" not in json.dumps(found)


def test_each_try_of_a_request_is_kept(gateway: Gateway) -> None:
    asked = [Asked(gateway, "/half/503") for _ in range(3)]
    tries = [[what for _, what, _ in each.problem()["tries"]] for each in asked]
    assert all(each.count("503") >= 1 for each in tries), tries
    assert any(what.startswith("cannot be reached") for each in tries for what in each), tries
    assert asked[0].problem()["address"] == asked[0].problem()["tries"][-1][0]


def test_a_rejected_user_is_kept_with_the_limit_or_policy(gateway: Gateway) -> None:
    headers = bearer(gateway)
    asked = [Asked(gateway, "/limited", **headers) for _ in range(2)]
    found = asked[-1].problem()
    assert (found["status"], found["policy"], found["user_id"]) == (429, "rate_limit", "7")
    assert found["limits"] == ["default"]
    found = Asked(gateway, "/secret", **headers).problem()
    assert (found["status"], found["policy"], found["user_id"]) == (403, "allow", "7")
    assert headers["Authorization"].partition(" ")[2] not in Path(asked[0].file).read_text()


def test_what_is_not_routed_is_kept_without_a_route(gateway: Gateway) -> None:
    found = Asked(gateway, "/no/such").problem()
    assert (found["status"], found["code"], found.get("route")) == (404, "route_not_found", None)


def test_a_service_s_own_responses_are_kept_from_500_on(gateway: Gateway) -> None:
    mild, bad = Asked(gateway, "/fine/404"), Asked(gateway, "/fine/500")
    assert bad.problem()["service"] == "fine"
    assert [what for _, what, _ in bad.problem()["tries"]] == ["500"]
    assert Asked(gateway, "/fine/200").kept() is None
    assert mild.kept() is None


@pytest.mark.parametrize("path", ["/secret", "/gateway/"])
def test_a_known_user_who_is_forbidden_is_named(gateway: Gateway, path: str) -> None:
    found = Asked(gateway, path, **bearer(gateway)).problem()
    assert (found["status"], found["code"], found["user_id"]) == (403, "permission_denied", "7")
