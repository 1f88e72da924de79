"""Request ids, log lines, the bound on bodies, health."""

import logging
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("said", ["0123abcd", "a" * 64, "A-b_c.d-9"])
def test_a_request_id_is_taken_over(said, caplog):
    with caplog.at_level(logging.INFO, "access"):
        reply = Client().get("/healthz", headers={"x-request-id": said})
    assert reply["X-Request-ID"] == said
    (line,) = [record for record in caplog.records if record.name == "access"]
    assert (line.method, line.path, line.status) == ("GET", "/healthz", 200)


def test_the_log_has_the_path_that_was_sent_here_whatever_the_client_asked_for(caplog):
    with caplog.at_level(logging.INFO, "access"):
        Client().get("/healthz", headers={"x-forwarded-path": "/internal/session-ends"})
    (line,) = [record for record in caplog.records if record.name == "access"]
    assert (line.path, line.levelno) == ("/healthz", logging.INFO)


def test_the_line_of_a_problem_has_its_code(caplog):
    with caplog.at_level(logging.INFO, "access"):
        replies = [
            Client().get("/nothing"),
            Client().get("/healthz", headers={"content-length": "x"}),
            Client().get("/healthz"),
        ]
    lines = [record for record in caplog.records if record.name == "access"]
    codes = [reply.json()["code"] if reply.status_code >= 400 else None for reply in replies]
    assert [getattr(line, "code", None) for line in lines] == codes
    assert codes[0] == "not_found"


@pytest.mark.parametrize("said", ["", "short", "a" * 65, "with space", "new\nline-1", "ünïcödé-"])
def test_a_malformed_request_id_is_replaced(said):
    given = Client().get("/healthz", headers={"x-request-id": said})["X-Request-ID"]
    assert given != said
    assert len(given) == 32


def test_a_response_is_logged_once_and_an_exception_with_the_id_of_its_request(monkeypatch, caplog):
    monkeypatch.setattr(connection, "cursor", Mock(side_effect=OperationalError("away")))
    assert Client().get("/healthz").status_code == 503
    assert [record.name for record in caplog.records] == ["chassis.health", "access"]
    caplog.clear()
    connection.cursor.side_effect = ZeroDivisionError
    reply = Client(raise_request_exception=False).get("/healthz")
    assert reply.status_code == 500
    fault, access = caplog.records
    assert (fault.name, fault.exc_info[0], access.name) == ("django.request", ZeroDivisionError, "access")
    assert fault.request_id == access.request_id == reply["X-Request-ID"]


def test_a_problem_contains_the_id_of_its_request():
    reply = Client().get("/nothing")
    assert reply.status_code == 404
    assert reply.json()["request_id"] == reply["X-Request-ID"]
    assert reply["Content-Length"] == str(len(reply.content))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"CONTENT_LENGTH": "1048577"}, 413),
        ({"CONTENT_LENGTH": "9" * 5000}, 413),
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "1_0"}, 400),
        ({"CONTENT_LENGTH": "٣"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
    ],
)
def test_a_body_beyond_its_bound_is_rejected_before_it_is_read(user, headers, status):
    reply = user().post("/sales", b"{}", **headers)
    assert reply.status_code == status, reply.content
    assert reply["Content-Type"] == "application/problem+json"


def test_it_is_healthy():
    assert Client().get("/healthz").json() == {"status": "ok", "service": "shop"}


@pytest.mark.parametrize(
    ("header", "most"),
    [("1500", 1.5), ("1", 0.001), ("0", 0), ("3600000", 3600), ("", None), ("-1", None), ("1.5", None), ("²", None)],
)
def test_a_view_learns_how_long_the_gateway_waits(header, most):
    reply = Client().get("/time-left", headers={"x-envoy-expected-rq-timeout-ms": header})
    left = reply.json()["time_left"]
    assert left is None if most is None else 0 <= left <= most


def test_without_the_gateway_the_time_left_is_unknown():
    assert Client().get("/time-left").json() == {"time_left": None}
