"""Replicas, as compose.scale.yaml starts them: they share what they must, and any of them may end."""

import http.client
import json
import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest
from tests.compose.containers import ROOT, Containers, docker, images, pip_variables
from tests.waiting import ENDED_WITHIN, wait_until

PASSWORD = "correct horse battery staple"
RATE = 50
CONNECTIONS = 10
# The demo gateway.yaml's limit of /api/orders: so many at once, and one more each so many seconds.
BURST, INTERVAL = 120, 0.5
# Seconds until a replica that was started again serves, and is known to.
BACK_WITHIN = 180.0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    # A busy machine takes longer than the defaults allow: for a round trip to Valkey, and to load the workers of a
    # service that listens already.
    folder = tmp_path_factory.mktemp("config")
    config = (ROOT / "gateway_project" / "gateway.yaml").read_text()
    assert "total: 10s" in config
    (folder / "gateway.yaml").write_text(config.replace("total: 10s", "total: 60s"))
    folder.chmod(0o755)
    patient = folder / "patient.yaml"
    patient.write_text(json.dumps({"services": {"gateway": {"volumes": [f"{folder}:/etc/gatehouse:ro"]}}}))
    files = ("compose.yaml", "compose.scale.yaml", str(patient))
    variables = images() | pip_variables(tmp_path_factory.mktemp("pip"))
    running = Containers("scale", "172.30.82.0/24", *files, **variables, REDIS_TIMEOUT="5000")
    try:
        running.compose("up", "--build", "--detach", "--wait", "--quiet-pull")
        authority = running.compose("exec", "-T", "edge", "cat", "/data/caddy/pki/authorities/local/root.crt")
        running.url, running.tls = f"https://localhost:{running.port}", ssl.create_default_context(cadata=authority)
        wait_until(running.is_ready, "the services are ready")
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "2", check=False)


def gateways(replicas: Containers) -> list[str]:
    """Return the URL of each gateway, past the edge."""
    network = f"{replicas.project}_public"
    found = [replicas.inspect(each)["NetworkSettings"]["Networks"][network] for each in replicas.ids("gateway")]
    return [f"http://{each['IPAddress']}:8001" for each in found]


def connect(replicas: Containers) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", replicas.port, timeout=90, context=replicas.tls)


def make_user(replicas: Containers) -> tuple[str, int]:
    """Create a user with a name of its own; return name and id."""
    name = f"user-{uuid.uuid4().hex[:12]}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    status, answer = replicas.ask("/api/users", body, replicas.token("admin", "a"))
    assert status == 201, answer
    return name, answer["id"]


@dataclass
class Load:
    """Requests through the edge at a constant rate: reads, and an order now and then with an Idempotency-Key.

    A read is sent once. An order is sent again with its key until it is placed, as its client would.
    """

    replicas: Containers
    token: str
    statuses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    again: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def read_all(self, number: int) -> None:
        with closing(connect(self.replicas)) as connection:
            self.read(connection, time.monotonic() + number / RATE)

    def read(self, connection: http.client.HTTPSConnection, due: float) -> None:
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            try:
                connection.request("GET", "/api/users/me", headers={"Authorization": f"Bearer {self.token}"})
                response = connection.getresponse()
                text = response.read()
                self.statuses[str(response.status) if response.status == 200 else f"{response.status} {text!r}"] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.statuses[repr(exc)] += 1
                connection.close()
            self.times.append(time.monotonic() - began)
            due += CONNECTIONS / RATE

    def place(self) -> None:
        while not self.stopping.wait(1.0):
            item = uuid.uuid4().hex
            body = {"item": item, "address": "Main street 1"}
            while (status := self.send(body, item)) >= 500:
                self.again += 1
            assert status == 201
            self.orders.append(item)

    def send(self, body: dict[str, str], key: str) -> int:
        try:
            return self.replicas.ask("/api/orders", body, self.token, Idempotency_Key=key)[0]
        except (OSError, http.client.HTTPException):
            return 599

    @contextmanager
    def on(self) -> Iterator[None]:
        """Send requests until the block ends."""
        with ThreadPoolExecutor(CONNECTIONS + 1) as threads:
            running = [threads.submit(self.read_all, number) for number in range(CONNECTIONS)]
            running.append(threads.submit(self.place))
            try:
                wait_until(lambda: len(self.times) > RATE, "there is load")
                yield
                before = len(self.times)
                wait_until(lambda: len(self.times) > before + RATE, "there is load")
            finally:
                self.stopping.set()
            for each in running:
                each.result()
        times = sorted(self.times)
        print(  # noqa: T201  # shown by -s, and by -rP
            f"\n{dict(self.statuses)}, p50 {times[len(times) // 2]:.3f} s, p99 {times[len(times) * 99 // 100]:.3f} s, "
            f"{len(self.orders)} orders, {self.again} sent again"
        )


@pytest.fixture
def load(replicas) -> Load:
    name, _ = make_user(replicas)
    return Load(replicas, replicas.token(name, PASSWORD))


def assert_nothing_is_lost(load: Load) -> None:
    assert load.statuses.keys() == {"200"}
    stored, page = [], "/api/orders?limit=100"
    while page:
        status, answer = load.replicas.ask(page, token=load.token)
        assert status == 200, answer
        stored += [each["item"] for each in answer["results"]]
        page = answer["next"].removeprefix(load.replicas.url) if answer["next"] else ""
    assert Counter(stored) == Counter(load.orders)


def test_a_session_of_one_gateway_is_one_of_all(replicas):
    urls = gateways(replicas)
    assert len(set(urls)) == 3
    found = replicas.login("user", "u", urls[0])
    for url in urls:
        assert replicas.ask("/api/users/me", token=found["access_token"], url=url)[0] == 200
    refreshed = replicas.ask("/api/token/refresh", {"refresh_token": found["refresh_token"]}, url=urls[1])[1]
    for url in urls:
        assert replicas.ask("/api/users/me", token=refreshed["access_token"], url=url)[0] == 200
    # The used one ends the session, at whichever gateway.
    assert replicas.ask("/api/token/refresh", {"refresh_token": found["refresh_token"]}, url=urls[2])[0] == 401


@pytest.mark.parametrize("end", ["logout", "deactivation"])
def test_all_gateways_reject_the_token_of_an_ended_session(replicas, end):
    urls = gateways(replicas)
    name, user_id = make_user(replicas)
    token, admin = replicas.token(name, PASSWORD, urls[0]), replicas.token("admin", "a")
    assert [replicas.ask("/api/users/me", token=token, url=url)[0] for url in urls] == [200] * 3
    if end == "logout":
        assert replicas.ask("/api/logout", token=token, method="POST", url=urls[0])[0] == 204
    else:
        body = {"is_active": False}
        assert replicas.ask(f"/api/users/{user_id}", body, admin, method="PATCH", url=urls[0])[0] == 200
    ended = accepted = time.monotonic()
    rejected: Counter[str] = Counter()
    # More often than there are workers, whichever of them a connection reaches.
    while len(rejected) < 3 or min(rejected.values()) < 20:
        for url in urls:
            status = replicas.ask("/api/users/me", token=token, url=url)[0]
            if status == 401:
                rejected[url] += 1
            else:
                accepted, rejected = time.monotonic(), Counter()
        assert time.monotonic() < ended + 60
    print(f"\naccepted for {accepted - ended:.2f} s")  # noqa: T201  # shown by -s, and by -rP
    assert accepted - ended < ENDED_WITHIN


def test_a_rate_limit_is_exact_over_all_gateways(replicas):
    name, _ = make_user(replicas)
    token, urls = replicas.token(name, PASSWORD), gateways(replicas)
    began = time.monotonic()
    with ThreadPoolExecutor(12) as threads:
        sent = [threads.submit(replicas.ask, "/api/orders", None, token, url=urls[n % 3]) for n in range(300)]
        statuses = Counter(each.result()[0] for each in sent)
    took = time.monotonic() - began
    print(f"\n{dict(statuses)} within {took:.2f} s")  # noqa: T201  # shown by -s, and by -rP
    assert statuses.keys() == {200, 429}
    assert BURST <= statuses[200] <= BURST + took / INTERVAL + 1


def test_the_edge_tells_gateways_that_clients_use_tls_and_replaces_their_x_forwarded_for(replicas):
    with closing(
        http.client.HTTPSConnection("localhost", replicas.port, timeout=20, context=replicas.tls)
    ) as connection:
        connection.request("GET", "/login/", headers={"Accept": "text/html", "X-Forwarded-For": "203.0.113.9"})
        response = connection.getresponse()
        response.read()
    assert response.status == 200
    assert "max-age" in (response.headers["Strict-Transport-Security"] or "")
    assert "203.0.113.9" not in replicas.compose("logs", "--no-color", "gateway")


def test_only_the_edge_publishes_a_port(replicas):
    published = {
        service: [
            port["HostPort"]
            for container in replicas.ids(service)
            for bindings in replicas.inspect(container)["NetworkSettings"]["Ports"].values()
            for port in bindings or ()
        ]
        for service in replicas.compose("config", "--services").split()
    }
    assert published.pop("edge") == [str(replicas.port)]
    assert set(map(tuple, published.values())) == {()}


@pytest.mark.long
def test_a_rolling_restart_under_load_loses_no_request(replicas, load):
    with load.on():
        for service in ("gateway", "users", "orders"):
            for container in replicas.ids(service):
                docker("restart", container)
                wait_until(lambda container=container: replicas.is_healthy(container), "it is healthy", BACK_WITHIN)
    assert_nothing_is_lost(load)


@pytest.mark.parametrize("service", ["gateway", "users", "orders"])
def test_a_replica_that_is_killed_under_load_loses_no_request(replicas, load, service):
    container = replicas.ids(service)[0]
    with load.on():
        docker("kill", container)
        before = len(load.times)
        wait_until(lambda: len(load.times) > before + 2 * RATE, "requests without it")
        docker("start", container)
        wait_until(lambda: replicas.is_healthy(container), "it is healthy", BACK_WITHIN)
    assert_nothing_is_lost(load)


def test_without_valkey_requests_go_on(replicas, load):
    container = replicas.ids("valkey")[0]
    with load.on():
        docker("kill", container)
        before = len(load.orders)
        wait_until(lambda: len(load.orders) > before + 2, "orders without it")
        docker("start", container)
        wait_until(lambda: replicas.is_healthy(container), "it is healthy", BACK_WITHIN)
    assert_nothing_is_lost(load)
    urls = gateways(replicas)
    shared = {"status": "ok"}
    wait_until(
        lambda: all(replicas.ask("/readyz", url=url)[1]["limits"] == shared for url in urls), "limits are shared"
    )


@pytest.mark.long
def test_a_database_that_is_stopped_for_30_s_comes_back_with_all_it_had(replicas):
    name, _ = make_user(replicas)
    token = replicas.token(name, PASSWORD)
    order = replicas.ask("/api/orders", {"item": "book", "address": "Main street 1"}, token)[1]
    running = [each for service in ("gateway", "users", "orders") for each in replicas.ids(service)]
    started = [replicas.inspect(each)["State"]["StartedAt"] for each in running]
    (database,) = replicas.ids("postgres")
    docker("stop", database)
    stopped = time.monotonic()
    wait_until(lambda: replicas.ask("/api/users/me", token=token)[0] >= 500, "it is noticed")
    while time.monotonic() < stopped + 30:
        for url in gateways(replicas):
            assert replicas.ask("/livez", url=url)[0] == 200
            status, answer = replicas.ask("/api/users/me", token=token, url=url)
            assert status in {502, 503, 504}, answer
        time.sleep(0.2)
    docker("start", database)
    began = time.monotonic()
    wait_until(lambda: replicas.ask("/api/users/me", token=token)[0] == 200, "it serves again", BACK_WITHIN)
    wait_until(lambda: all(replicas.is_ready(url) for url in gateways(replicas)), "all are ready", BACK_WITHIN)
    print(f"\nready {time.monotonic() - began:.1f} s after the start of the database")  # noqa: T201  # shown by -s
    assert [each["id"] for each in replicas.ask("/api/orders", token=token)[1]["results"]] == [order["id"]]
    assert replicas.token(name, PASSWORD)
    assert [replicas.inspect(each)["State"]["StartedAt"] for each in running] == started


@pytest.mark.long
def test_two_more_gateways_serve_behind_the_edge_and_accept_the_same_tokens(replicas):
    before = replicas.ids("gateway")
    token = replicas.token("user", "u", gateways(replicas)[0])
    try:
        replicas.compose("up", "--detach", "--wait", "--scale", "gateway=5")
        now = replicas.ids("gateway")
        assert len(now) == 5
        assert set(before) < set(now)
        for url in gateways(replicas):
            assert replicas.ask("/api/users/me", token=token, url=url)[0] == 200
            assert replicas.ask("/api/users/me", token=replicas.token("user", "u", url))[0] == 200
        sent = uuid.uuid4().hex

        def served() -> set[str]:
            """Return the gateways that the edge has sent requests to, after some more."""
            for _ in range(10):
                assert replicas.ask("/api/users/me", token=token, X_Request_Id=sent)[0] == 200
            lines = replicas.compose("logs", "--no-color", "gateway").splitlines()
            return {line.partition(" ")[0] for line in lines if sent in line}

        wait_until(lambda: len(served()) == 5, "the edge sends requests to all five")
    finally:
        replicas.compose("up", "--detach", "--wait", "--scale", "gateway=3")
    assert len(replicas.ids("gateway")) == 3
