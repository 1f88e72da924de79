"""How long the gateway accepts a token after its session has ended, with both workers under load."""

import contextlib
import http.client
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.documents import config_without_rate_limits
from tests.system.stack import Reply, Stack, until
from tests.waiting import ENDED_WITHIN, wait_until

from gateway.metrics import BOUNDS, TIMES_BLOCK_SIZE, Series, SharedMemory

ENVIRON = {"GATEWAY_WORKERS": "2", "LOGIN_FREE_TRIES": "1000", "ARGON2_MEMORY_KIB": "1024", "ARGON2_TIME": "1"}
PASSWORD = "correct horse battery staple"
# Seconds after which no worker accepts the token on a quiet machine.
PROMISED = 2.5
# At the fast door, and at Django's.
ACCEPTS = ("application/json", "text/html")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two gateway workers and without rate limits."""
    folder = tmp_path_factory.mktemp("revocation")
    config = folder / "gateway.yaml"
    config.write_text(config_without_rate_limits())
    stack = Stack(folder / "var", {**ENVIRON, "GATEWAY_CONFIG": str(config)})
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


class Load:
    """Requests at both doors, each on a connection of its own, so that every worker gets some.

    `faults` are unexpected statuses: for a token that stays, anything but 200; for one that ends, neither 200 nor 401.
    """

    def __init__(self, stack: Stack, ending: list[str], staying: list[str]) -> None:
        self.stack = stack
        self.faults: list[str] = []
        self.accepted_at = 0.0
        self.rejected: dict[str, int] = dict.fromkeys(ACCEPTS, 0)
        self.responses = 0
        self.stopping = threading.Event()
        self.threads = [
            threading.Thread(target=self.send_requests, args=(token, accept, token in ending))
            for token in ending * 2 + staying
            for accept in ACCEPTS
        ]

    def status(self, token: str, accept: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.ports["gateway"], timeout=60)
        try:
            connection.request("GET", "/api/orders", headers={"Authorization": f"Bearer {token}", "Accept": accept})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def send_requests(self, token: str, accept: str, ends: bool) -> None:
        # Some 50 requests a second and thread: more would only take the time of other processes.
        while not self.stopping.wait(0.02):
            try:
                status = self.status(token, accept)
            except OSError as exc:
                self.faults.append(repr(exc))
                return
            self.responses += 1
            if status == 200 and ends:
                self.accepted_at = time.monotonic()
            elif status == 401 and ends:
                self.rejected[accept] += 1
            elif status != 200:
                self.faults.append(f"{accept}: {status}")

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Send requests until the block ends."""
        for thread in self.threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in self.threads:
                thread.join()


def by_worker(stack: Stack, status: str) -> dict[int, float]:
    """Return how many requests for orders had this status, by the worker's block in the shared metrics."""
    files = Path(f"/proc/{stack.master('gateway')}/fd").iterdir()
    shared = next(path for path in files if "gateway-metrics" in str(path.readlink()))
    descriptor = os.open(shared, os.O_RDWR | os.O_CLOEXEC)
    memory: SharedMemory[Series] = SharedMemory(descriptor, block_size=TIMES_BLOCK_SIZE, bounds=BOUNDS)
    return {
        block: sum(
            sum(memory.numbers[place : place + len(BOUNDS)])
            for series, place in memory.records(block)
            if series.route == "/api/orders" and str(series.status) == status
        )
        for block in range(memory.blocks)
    }


def log_out(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    return stack.ask("POST", "/api/logout", token=tokens[0])


def change_password(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    body = {"old_password": PASSWORD, "new_password": PASSWORD + " 2"}
    return stack.ask("POST", "/api/users/me/password", body, token=tokens[1])


def deactivate(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    return stack.ask("PATCH", f"/api/users/{user_id}", {"is_active": False}, token=admin)


def change_role(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    return stack.ask("PATCH", f"/api/users/{user_id}", {"user_type": "admin"}, token=admin)


def delete(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    return stack.ask("DELETE", f"/api/users/{user_id}", token=admin)


def deactivate_in_the_admin(stack: Stack, admin: str, user_id: int, tokens: list[str]) -> Reply:
    page = stack.ask("GET", "/admin/users/user/", token=admin, Accept="text/html")
    assert page.status == 200, page.text
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    form = f"action=deactivate&_selected_action={user_id}&csrfmiddlewaretoken={cookie.partition('=')[2]}"
    headers = {
        "Authorization": f"Bearer {admin}",
        "Cookie": cookie,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=30)
    try:
        connection.request("POST", "/admin/users/user/", form, headers)
        return Reply((response := connection.getresponse()).status, response.headers, response.read().decode())
    finally:
        connection.close()


# How a session ends, and whether the user's second session stays.
WAYS: list[tuple[Callable[[Stack, str, int, list[str]], Reply], bool]] = [
    (log_out, True),
    (change_password, True),
    (deactivate, False),
    (change_role, False),
    (delete, False),
    (deactivate_in_the_admin, False),
]


@pytest.mark.parametrize(("end", "second_stays"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_every_worker_rejects_an_ended_session_in_time_and_no_other(
    loaded: Stack, end: Callable[[Stack, str, int, list[str]], Reply], second_stays: bool
) -> None:
    admin, name = loaded.login("admin", "a"), end.__name__
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    user_id = loaded.ask("POST", "/api/users", body, token=admin).json["id"]
    tokens = [loaded.login(name, PASSWORD) for _ in range(2)]
    ending, staying = (tokens[:1], tokens[1:]) if second_stays else (tokens, [])
    load = Load(loaded, ending, [*staying, loaded.login("user", "u")])
    accepting, rejecting = by_worker(loaded, "200"), by_worker(loaded, "401")

    def busy(before: dict[int, float], status: str) -> list[int]:
        """Return the workers that have sent this status since then."""
        return [worker for worker, count in by_worker(loaded, status).items() if count > before.get(worker, 0)]

    with load.on():
        until(lambda: load.responses > 60 or load.faults, 20, "there is load")
        reply = end(loaded, admin, user_id, tokens)
        ended_at = time.monotonic()
        assert reply.status in {200, 204, 302}, reply.text
        until(lambda: time.monotonic() > ended_at + PROMISED or load.faults, 10, "the promised time is over")
        until(lambda: min(load.rejected.values()) > 10 or load.faults, 20, "both doors reject the token")
        until(lambda: len(busy(rejecting, "401")) == 2 or load.faults, 20, "both workers reject the token")
    assert load.faults == []
    took = load.accepted_at - ended_at
    print(f"\n{name}: accepted for {max(took, 0):.2f} s, {load.responses} requests")  # noqa: T201  # shown by -s, and by -rP
    assert took < ENDED_WITHIN
    assert len(busy(accepting, "200")) == 2, "both workers have accepted the tokens before"


def test_a_gateway_with_an_unknown_cursor_reads_the_list_from_its_beginning(loaded: Stack) -> None:
    admin = loaded.login("admin", "a")
    body = {"username": "restored", "email": "restored@example.com", "password": PASSWORD}
    user_id = loaded.ask("POST", "/api/users", body, token=admin).json["id"]
    token = loaded.login("restored", PASSWORD)
    with contextlib.closing(sqlite3.connect(loaded.var / "gateway" / "sessions.sqlite3", timeout=30)) as store, store:
        store.execute("INSERT OR REPLACE INTO identity_follower (id, cursor) VALUES (1, 'a place in another list')")
    assert deactivate(loaded, admin, user_id, []).status == 200
    until(
        lambda: {loaded.ask("GET", "/api/orders", token=token).status for _ in range(8)} == {401}, 20, "it is rejected"
    )
    wait_until(lambda: any("is another one" in line["message"] for line in loaded.logs("gateway")), "the log line")


def test_an_older_copy_of_the_users_ends_all_sessions(loaded: Stack) -> None:
    record = loaded.var / "users" / "users.jsonl"
    admin = loaded.login("admin", "a")
    copy = record.read_bytes()
    body = {"username": "later", "email": "later@example.com", "password": PASSWORD}
    last_id = loaded.ask("POST", "/api/users", body, token=admin).json["id"]
    tokens = [admin, loaded.login("user", "u"), loaded.login("later", PASSWORD)]
    (record.parent / "copy").write_bytes(copy)
    (record.parent / "copy").replace(record)
    began = time.monotonic()
    until(
        lambda: {loaded.ask("GET", "/api/orders", token=token).status for token in tokens for _ in range(4)} == {401},
        20,
        "every session has ended",
    )
    print(f"\nall sessions ended after {time.monotonic() - began:.2f} s")  # noqa: T201  # shown by -s
    admin = loaded.login("admin", "a")
    assert loaded.ask("POST", "/api/users", body, token=admin).json["id"] > last_id
