"""Liveness, readiness, metrics, the root."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import wait_until

from gateway.upstreams import fetching

pytestmark = pytest.mark.django_db


def test_healthz_asks_no_service(client: Client, configure: Callable[..., None]) -> None:
    configure()
    assert client.get("/healthz").json() == {"status": "ok", "service": "gateway"}


def test_readyz_is_ready_when_the_services_are(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    service = serve()
    configure(
        services={"people": {"url": service.url, "health": "/up"}, "silent": {"url": "http://127.0.0.1:1"}},
        login={"service": "people"},
    )
    reply = client.get("/readyz")
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ready",
        "parts": {"sessions": "ok", "keys": "ok", "login": "ok"},
        "services": {"people": "ok", "silent": "unknown"},
        "revocations": {"status": "ok"},
    }
    assert service.seen[0].target == "/up"


def away(seen: Seen) -> Reply | None:
    return None


def unwell(seen: Seen) -> Reply | None:
    return Reply(503)


@pytest.fixture
def hanging() -> Iterator[Callable[[Seen], Reply]]:
    """A service's answer that comes at the end of the test."""
    ended = threading.Event()

    def hang(seen: Seen) -> Reply:
        assert ended.wait(60)
        return Reply()

    yield hang
    ended.set()


@pytest.mark.parametrize(
    ("answer", "listed"),
    [(unwell, "responded with 503"), (away, "closed the connection before its response was complete")],
)
def test_an_unhealthy_service_is_listed_and_the_gateway_is_ready(
    client: Client,
    configure: Callable[..., None],
    serve: Callable[..., Service],
    answer: Callable[[Seen], Reply | None],
    listed: str,
) -> None:
    configure(services={"things": {"url": serve(answer).url, "health": "/up"}})
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["status"]) == (200, "ready")
    assert reply.json()["services"] == {"things": listed}


def test_without_its_login_service_the_gateway_is_not_ready(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    configure(services={"people": {"url": serve(unwell).url, "health": "/up"}}, login={"service": "people"})
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["status"]) == (503, "not ready")
    assert reply.json()["parts"] == {"sessions": "ok", "keys": "ok", "login": "responded with 503"}


def test_services_are_checked_at_once_and_a_hanging_one_delays_all_probes_together(
    client: Client,
    configure: Callable[..., None],
    serve: Callable[..., Service],
    hanging: Callable[[Seen], Reply],
) -> None:
    services = {f"hanging-{number}": serve(hanging) for number in range(12)}
    configure(services={name: {"url": service.url, "health": "/up"} for name, service in services.items()})
    began = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda _: client.get("/readyz"), range(16)))
    # One after the other they would take 12 s, and each request as long again.
    assert time.monotonic() - began < 6
    for reply in replies:
        assert reply.status_code == 200
        assert set(reply.json()["services"].values()) == {"did not respond in time"}
    for service in services.values():
        assert len(service.seen) == 1


def test_the_health_of_services_is_checked_again_after_a_second(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    service = serve()
    configure(services={"things": {"url": service.url, "health": "/up"}})
    assert client.get("/readyz").json()["services"] == {"things": "ok"}
    service.answer = unwell
    deadline = time.monotonic() + 10
    while client.get("/readyz").json()["services"] != {"things": "responded with 503"}:
        assert time.monotonic() < deadline


def test_a_health_response_that_is_too_large_is_a_malformed_one(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    service = serve(lambda seen: Reply(200, b"x" * (fetching.MAX_RESPONSE + 1)))
    configure(services={"things": {"url": service.url, "health": "/up"}})
    assert client.get("/readyz").json()["services"] == {"things": "sent a malformed response"}


def test_stale_keys_are_listed_and_the_gateway_is_ready(
    client: Client, configure: Callable[..., None], settings: Any
) -> None:
    configure()
    assert client.get("/readyz").json()["parts"] == {"sessions": "ok", "keys": "ok"}
    (settings.KEYS / "another.pem").write_text("no key")
    (settings.KEYS / "another.pem").chmod(0o600)
    wait_until(lambda: client.get("/readyz").json()["parts"]["keys"] == "stale", "the keys are read again")
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["parts"]["keys"]) == (200, "stale")
    assert json.loads(reply.content)["status"] == "ready"


def refuse(*args: Any) -> Any:
    from django.db import OperationalError

    raise OperationalError("away")


def test_an_unreadable_session_database_is_listed(client: Client, configure: Callable[..., None]) -> None:
    configure()
    with connection.execute_wrapper(refuse):
        runtime().revocations.look()
        reply = client.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["parts"] == {"sessions": "cannot be read", "keys": "ok"}
    assert reply.json()["revocations"]["status"] == "stale"


def test_stale_revocations_are_listed_and_requests_are_served(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    service = serve(lambda seen: Reply(503))
    configure(services={"people": {"url": service.url}}, login={"service": "people"})
    before = timezone.now().replace(microsecond=0)
    runtime().revocations.look()
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["revocations"]["status"]) == (200, "stale")
    assert before <= datetime.fromisoformat(reply.json()["revocations"]["since"]) <= timezone.now()
    service.answer = lambda seen: Reply.json({"ends": [], "cursor": ""})
    runtime().revocations.look()
    assert client.get("/readyz").json()["revocations"] == {"status": "ok"}


def metric(client: Client, line: str) -> float:
    text = client.get("/metrics").content.decode()
    return next((float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line)), 0.0)


def test_requests_are_counted_under_their_route(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    configure(
        services={"things": {"url": serve().url}},
        routes=[{"path": "/api/counted/{id}", "methods": ["GET"], "service": "things", "allow": "public"}],
    )
    line = 'gateway_requests_total{method="GET",route="/api/counted/{id}",status="200"}'
    before = metric(client, line)
    for number in range(3):
        client.get(f"/api/counted/{number}")
    assert metric(client, line) == before + 3


def test_a_client_cannot_create_labels(client: Client, configure: Callable[..., None]) -> None:
    configure()
    for number in range(3):
        client.generic(f"M{number}", f"/nothing/{number}")
    text = client.get("/metrics").content.decode()
    assert "nothing" not in text
    assert "M1" not in text
    assert metric(client, 'gateway_requests_total{method="_OTHER",route="none",status="501"}') >= 3


def test_only_allowed_networks_get_the_metrics(client: Client, configure: Callable[..., None], settings: Any) -> None:
    configure()
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 403
    settings.METRICS_NETWORKS = (ip_network("203.0.113.0/24"),)
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="").status_code == 403


def test_the_root_page_lists_the_entry_points(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    route = {"methods": ["GET"], "service": "things", "allow": "public"}
    configure(
        services={"things": {"url": serve().url}},
        routes=[
            {"path": path} | route for path in ("/api/things", "/api/things/{id}", "/things", "/api/docs", "/more/")
        ],
    )
    links = client.get("/").json()
    assert links == {
        "docs": "http://testserver/docs",
        "redoc": "http://testserver/redoc",
        "openapi": "http://testserver/openapi.json",
        "things": "http://testserver/api/things",
        # What would have a name that is taken has another one.
        "/things": "http://testserver/things",
        "api_docs": "http://testserver/api/docs",
        "more": "http://testserver/more/",
    }
    page = client.get("/", headers={"Accept": "text/html"}).content.decode()
    assert 'href="/api/things"' in page
