"""Key rotation while users sign in, stay signed in, and use both services."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.documents import config_without_rate_limits
from tests.system.stack import WORKERS, Stack, until

LEAD = 4
# The shortest that the gateway accepts.
TTL = 60
ENVIRON = {
    "KEY_LEAD_TIME": str(LEAD), "ACCESS_TOKEN_TTL": str(TTL), "REFRESH_TOKEN_TTL": str(TTL),
    "LOGIN_FREE_TRIES": "1000", "ARGON2_MEMORY_KIB": "1024", "ARGON2_TIME": "1",
} | dict.fromkeys(WORKERS, "2")  # fmt: skip


def kid(token: str) -> str:
    """Return the key that signed the token."""
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


class Load:
    """Users who sign in, use both services, refresh and sign in again; `faults` are the unexpected responses."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.faults: list[str] = []
        # By key: how many access tokens that it signed were accepted, and when the first one was.
        self.accepted: dict[str, int] = {}
        self.first: dict[str, float] = {}
        self.stopping = threading.Event()

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> dict[str, str]:
        reply = self.stack.ask(method, path, body, token=token)
        if reply.status != 200:
            self.faults.append(f"{method} {path}: {reply.status} {reply.text}")
        return dict(reply.json) if reply.status == 200 else {"access_token": token, "refresh_token": ""}

    def use(self) -> None:
        while not self.stopping.wait(0.02):
            pair = self.ask("POST", "/api/login", {"username": "user", "password": "u"})
            for _ in range(3):
                for path in ("/api/users/me", "/api/orders"):
                    self.ask("GET", path, token=pair["access_token"])
                    self.stopping.wait(0.02)
                key = kid(pair["access_token"])
                self.accepted[key] = self.accepted.get(key, 0) + 1
                self.first.setdefault(key, time.monotonic())
                pair = self.ask("POST", "/api/token/refresh", {"refresh_token": pair["refresh_token"]})

    @contextmanager
    def on(self, users: int) -> Iterator[None]:
        """Send requests until the block ends."""
        threads = [threading.Thread(target=self.use) for _ in range(users)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()


def published(stack: Stack) -> set[str]:
    return {key["kid"] for key in stack.ask("GET", "/.well-known/jwks.json").json["keys"]}


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own with short-lived keys and without rate limits."""
    config = tmp_path / "gateway.yaml"
    config.write_text(config_without_rate_limits())
    stack = Stack(tmp_path / "var", {**ENVIRON, "GATEWAY_CONFIG": str(config)})
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def check_rotation(stack: Stack, load: Load) -> tuple[str, str]:
    """Rotate once and return the old key and the new one.

    The new key is published first, then signs, and every service accepts it.
    """
    (old,) = published(stack)
    until(lambda: load.accepted.get(old, 0) > 5 or load.faults, 20, "there is load")
    started = time.monotonic()
    assert "is published" in stack.manage("gateway", "rotate_keys").stdout
    (new,) = until(lambda: published(stack) - {old}, 5, "the new key is published")
    until(lambda: load.accepted.get(new, 0) > 20 or load.faults, LEAD + 20, "the new key signs")
    assert load.faults == []
    assert load.first[new] - started > LEAD - 1
    assert published(stack) == {old, new}
    return old, new


def test_no_request_fails_while_keys_rotate(rotating: Stack) -> None:
    load = Load(rotating)
    first = rotating.login("user", "u")
    with load.on(4):
        old, new = check_rotation(rotating, load)
        # A token of before the rotation is still valid.
        for path in ("/api/users/me", "/api/orders"):
            assert rotating.ask("GET", path, token=first).status == 200
    assert load.faults == []
    assert set(load.accepted) == {old, new}


@pytest.mark.long
def test_no_request_fails_while_an_old_key_is_removed(rotating: Stack) -> None:
    load = Load(rotating)
    with load.on(2):
        old, new = check_rotation(rotating, load)
        until(lambda: published(rotating) == {new}, LEAD + TTL + 60 + 10, "the old key is not published any more")
        after = load.accepted[new]
        until(lambda: load.accepted[new] > after + 100, 60, "there is still load")
    assert load.faults == []
    assert not (rotating.var / "gateway" / "keys" / f"{old}.pem").exists()


def test_after_a_theft_old_tokens_are_rejected_and_users_sign_in_again(rotating: Stack) -> None:
    token = rotating.login("user", "u")
    assert rotating.ask("GET", "/api/orders", token=token).status == 200
    (old,) = published(rotating)
    assert "sessions ended: 1" in rotating.manage("gateway", "rotate_keys", "--stolen").stdout
    until(lambda: rotating.ask("GET", "/api/orders", token=token).status == 401, 5, "the old token is rejected")
    until(lambda: old not in published(rotating), 5, "the old key is not published any more")

    def signs_in() -> bool:
        reply = rotating.ask("POST", "/api/login", {"username": "user", "password": "u"})
        return reply.status == 200 and all(
            rotating.ask("GET", path, token=reply.json["access_token"]).status == 200
            for path in ("/api/users/me", "/api/orders")
        )

    # Both workers of each service have to learn the new key.
    until(lambda: all(signs_in() for _ in range(8)), 20, "users sign in again")
    assert [rotating.ask("GET", "/api/orders", token=token).status for _ in range(10)] == [401] * 10
