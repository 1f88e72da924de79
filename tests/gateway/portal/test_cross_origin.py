"""`defaults.cors` at the gateway's own API, and at paths without a route."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.service import Reply, Service

APP = "https://app.example.org"
CORS = {"origins": [APP], "expose": ["X-Request-ID"]}
OWN = ["/api/login", "/api/token/refresh", "/api/logout", "/api/v1/login"]


@pytest.fixture(autouse=True)
def gateway(serve: Callable[..., Service], configure: Callable[..., None]) -> None:
    service = serve(lambda seen: Reply(status=401))
    configure(
        services={"users": {"url": service.url}}, login={"service": "users"}, defaults={"cors": CORS},
        versions={"current": "v1"}, routes=[],
    )  # fmt: skip


def preflight(client: Client, path: str, origin: str = APP) -> Any:
    return client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})


@pytest.mark.parametrize("path", OWN)
def test_the_gateways_own_api_responds_to_preflights(client: Client, path: str) -> None:
    response = preflight(client, path)
    assert (response.status_code, response.content) == (204, b"")
    assert response["Access-Control-Allow-Origin"] == APP
    assert response["Access-Control-Allow-Methods"] == "POST"
    assert response["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert response["Access-Control-Max-Age"] == "600"
    assert response["Vary"] == "Origin"


@pytest.mark.parametrize("path", OWN)
def test_a_page_reads_the_problems_of_the_gateways_own_api(client: Client, path: str) -> None:
    response = client.post(path, b"{", content_type="application/json", headers={"Origin": APP})
    assert response.status_code in {400, 401}
    assert response["Access-Control-Allow-Origin"] == APP
    assert response["Access-Control-Expose-Headers"] == "X-Request-ID"
    assert "Origin" in response["Vary"]


def test_another_origin_is_rejected_by_leaving_the_headers_out(client: Client) -> None:
    response = preflight(client, "/api/login", "https://other.example.org")
    assert response.status_code == 204
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]
    assert response["Vary"] == "Origin"


def test_a_path_without_a_route_is_a_404_that_a_page_can_read(client: Client) -> None:
    response = client.get("/api/nothing", headers={"Origin": APP})
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (404, APP)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/login/", "/healthz", "/"])
def test_pages_and_probes_are_for_no_other_origin(client: Client, path: str) -> None:
    response = client.get(path, headers={"Origin": APP})
    assert not response.has_header("Access-Control-Allow-Origin")


def test_without_a_policy_nothing_changes(client: Client, configure: Callable[..., None]) -> None:
    configure()
    response = preflight(client, "/api/login")
    assert (response.status_code, response["Allow"]) == (204, "OPTIONS, POST")
    assert not response.has_header("Access-Control-Allow-Origin")
    assert not response.has_header("Vary")
