"""A login service for tests: it keeps the contract of `gateway.identity.credentials` and checks passports."""

import json
import threading
from collections.abc import Callable
from typing import Any

import jwt
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply, Seen


class LoginService:
    """Users by name; `ends` are the session ends that it reports."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {
            "admin": {"id": 1, "username": "admin", "role": "admin", "session_epoch": 0},
            "user": {"id": 2, "username": "user", "role": "default", "session_epoch": 0},
        }
        self.ends: list[dict[str, Any]] = []
        self.broken: Reply | None = None
        # Cursors of the generation before `other_users`.
        self.replaced: set[str] = set()
        self.breaks_off = False
        self.waits_for: threading.Event | None = None
        # Called with a request's path once its response is decided, and before that is sent.
        self.before_response: Callable[[str], None] = lambda path: None
        # Responses to session-ends requests, instead of the real ones.
        self.session_ends: Reply | None = None

    def end(self, user_id: int, epoch: int, kept: str = "", *, deleted: bool = False) -> None:
        """End a user's sessions."""
        self.ends.append({"user_id": user_id, "session_epoch": epoch, "kept_session": kept or None, "deleted": deleted})

    def other_users(self) -> None:
        """Replace the users, as a restored copy does: all sessions must end."""
        self.replaced = {str(number) for number in range(1, len(self.ends) + 1)}
        self.ends.clear()

    def __call__(self, seen: Seen) -> Reply | None:
        reply = self.respond(seen)
        self.before_response(seen.target)
        return reply

    def respond(self, seen: Seen) -> Reply | None:  # noqa: PLR0911  # one for each kind of request
        """Respond, as the real service does, only to a passport of role `service`."""
        if self.session_ends and "session-ends" in seen.target:
            return self.session_ends
        if self.waits_for:
            self.waits_for.wait(30)
        if self.breaks_off:
            return None
        if self.broken:
            return self.broken
        passport = (seen.header("Authorization") or "").removeprefix("Bearer ")
        key = runtime().keys.current().signing
        claims = jwt.decode(passport, key.private.public_key(), ["ES256"], audience="people")
        assert claims["role"] == "service"
        assert seen.header("Request-User-Id") == claims["sub"] == "gateway"
        if seen.target == "/internal/credentials":
            said = json.loads(seen.body)
            user = self.users.get(said["username"])
            return Reply.json(user) if user and said["password"] == "secret" else Reply.json({}, 401)
        if seen.target.startswith("/internal/users/"):
            by_id = {str(user["id"]): user for user in self.users.values()}
            user = by_id.get(seen.target.rpartition("/")[2])
            return Reply.json(user) if user else Reply.json({}, 404)
        if seen.target.partition("?after=")[2] in self.replaced:
            return Reply.json({"ends": [], "cursor": "0", "all_ended": True})
        after = int(cursor) if (cursor := seen.target.partition("?after=")[2] or "0").isdigit() else -1
        if not 0 <= after <= len(self.ends):
            return Reply.json({}, 400)
        # One at a time, so that the gateway has to ask again.
        ends = self.ends[after : after + 1]
        return Reply.json({"ends": ends, "cursor": str(after + len(ends))})
