"""A browser that signs in at the gateway, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.test import Client

FORM = "application/x-www-form-urlencoded"
OWN = {"Origin": "http://testserver"}
PAGE = {"Accept": "text/html"}


def send(client: Client, path: str = "/login/", headers: dict[str, str] = OWN, **said: str) -> Any:
    return client.post(path, urlencode(said), FORM, headers=headers)


def sign_in(client: Client, **said: str) -> Any:
    return send(client, **{"username": "user", "password": "secret"} | said)


def expire(client: Client) -> str:
    """Leave the browser only the refresh token, as after the access token has expired; return it."""
    del client.cookies["gatehouse-access"]
    return str(client.cookies["gatehouse-refresh"].value)


@contextmanager
def read_only() -> Iterator[None]:
    """Reject all writes, as a faulty disk does."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            cursor.execute("PRAGMA query_only = OFF")
