"""What the gateway asks the login service: whose password this is, whether a user still is one, whose sessions ended.

The login service is the one under `login` in gateway.yaml. To a passport of role `service` it responds (401 to any
other):

    POST /internal/credentials {"username", "password"}    200 with the account, or 401
    GET  /internal/users/{id}                               200 with the account, or 404
    GET  /internal/session-ends?after={cursor}              200 {"ends": [...], "cursor"}, or 400 for a strange cursor
"""

import json
import logging
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from django.conf import settings

from chassis import logs
from gateway.config import Config
from gateway.policy.rejections import (
    InvalidToken,
    PassportRejected,
    RequestRejected,
    RouteNotFound,
    UpstreamErrorResponse,
    UpstreamUnavailable,
)
from gateway.upstreams import BlockingResponse, Upstreams

from .passports import SELF, Passports

CREDENTIALS = "/internal/credentials"


@dataclass(frozen=True)
class Account:
    """A user's current data that tokens need; `session_epoch` counts how often the sessions were ended."""

    user_id: str
    username: str
    role: str
    session_epoch: int


@dataclass(frozen=True)
class SessionEnd:
    """The end of a user's sessions from before an epoch, except one; of all if the epoch is `None`."""

    user_id: str
    session_epoch: int | None
    kept_session: str


def retry_after(response: BlockingResponse) -> int:
    seconds = next((value for name, value in response.headers if name.lower() == "retry-after"), "")
    return int(seconds) if re.fullmatch("[0-9]{1,5}", seconds) else 1


def account_of(account: Any) -> Account:  # noqa: ANN401  # JSON
    try:
        return Account(str(account["id"]), account["username"], account["role"], account["session_epoch"])
    except (KeyError, TypeError) as exc:
        raise Misunderstood from exc


class Unexpected(RequestRejected):
    """The login service responded with an unexpected status."""

    status = 502
    code = "login_service_error"

    def __init__(self, status: int) -> None:
        super().__init__(f"The login service responded with {status}.")


class CursorRejected(Unexpected):
    """The login service's list does not have the cursor: it is another list."""


class Misunderstood(RequestRejected):
    """The login service responded with 200 and an unexpected body."""

    status = 502
    code = "login_service_error"

    def __init__(self) -> None:
        super().__init__("The login service sent an unexpected response.")


class SessionEnds(NamedTuple):
    """What ended after a cursor, and the cursor to go on from.

    With `all_ended` every session has to end: the login service has other users than it had, as of a restored copy.
    """

    ends: list[SessionEnd]
    cursor: str
    all_ended: bool


class LoginClient:
    """The gateway as a client of the login service."""

    def __init__(self, config: Config, upstreams: Upstreams, passports: Passports) -> None:
        self.config = config
        self.upstreams = upstreams
        self.passports = passports

    def ask(self, method: str, target: str, body: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return the login service's status and JSON; raise `UpstreamError`, `Misunderstood` or `RouteNotFound`."""
        if self.config.login is None:
            raise RouteNotFound("Nothing is found at this path.")
        service, span = self.config.login.service, logs.traceparent.get()
        response = self.upstreams.send(
            service,
            method,
            target,
            headers=[
                ("Authorization", f"Bearer {self.passports.get(SELF, service)}"),
                ("Request-User-Id", SELF.user_id),
                ("X-Request-ID", logs.request_id.get()),
                *([("traceparent", span)] if span else []),
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
            ],
            body=b"" if body is None else json.dumps(body).encode(),
        )
        text = response.read()
        if response.status == 503:
            raise UpstreamUnavailable(service, retry_after(response))
        if response.status >= 500:
            raise UpstreamErrorResponse(service, response.status)
        if response.status == 401 and target != CREDENTIALS:
            raise self.passport_rejected(service)
        try:
            return response.status, json.loads(text) if response.status == 200 else None
        except ValueError as exc:
            raise Misunderstood from exc

    def passport_rejected(self, service: str) -> PassportRejected:
        issuer = cast("dict[str, Any]", settings.SIMPLE_JWT)["ISSUER"]
        more = (
            f"all sign-ins fail; most likely its TOKEN_ISSUER is not the gateway's, which is {issuer!r}, its JWKS_URL "
            "leads to another gateway, or its clock differs: make them alike and restart it; its own log has more"
        )
        self.upstreams.pools.errors.note(service, "", "rejects the gateway's passport", more, level=logging.ERROR)
        return PassportRejected(service)

    def check_passport(self) -> None:
        """Raise `PassportRejected` if a 401 to credentials is about the passport, and not the password.

        Only the passport decides on this request: with an accepted one the response is 400, for an unknown cursor.
        """
        try:
            self.ask("GET", "/internal/session-ends?after=-")
        except PassportRejected:
            raise
        except RequestRejected:
            return

    def account_by_password(self, *, username: str, password: str) -> Account | None:
        """Return the account whose password this is, `None` for a wrong one; raise `PassportRejected` or another."""
        status, content = self.ask("POST", CREDENTIALS, {"username": username, "password": password})
        if status == 401:
            self.check_passport()
        if status in {400, 401}:
            return None
        if status != 200:
            raise Unexpected(status)
        return account_of(content)

    def account_by_id(self, user_id: str) -> Account:
        """Return the active account of that id; raise `InvalidToken` if there is none."""
        status, content = self.ask("GET", f"/internal/users/{quote(user_id, safe='')}")
        if status == 404:
            raise InvalidToken("The user is not active. Sign in as another one.")
        if status != 200:
            raise Unexpected(status)
        return account_of(content)

    def session_ends(self, cursor: str) -> SessionEnds:
        """Return what ended after the cursor, or from the beginning if it is empty.

        Raises `CursorRejected`, or another `RequestRejected`.
        """
        status, content = self.ask(
            "GET", f"/internal/session-ends?after={quote(cursor, safe='')}" if cursor else "/internal/session-ends"
        )
        if status == 400 and cursor:
            raise CursorRejected(status)
        if status != 200:
            raise Unexpected(status)
        try:
            ends = [
                SessionEnd(
                    str(end["user_id"]),
                    None if end["deleted"] else int(end["session_epoch"]),
                    cast("str", end["kept_session"] or ""),
                )
                for end in content["ends"]
            ]
            return SessionEnds(ends, str(content["cursor"]), content.get("all_ended", False) is True)
        except (KeyError, TypeError, ValueError) as exc:
            raise Misunderstood from exc
