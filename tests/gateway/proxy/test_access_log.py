"""The access log's lines: JSON whatever is in them, and those of the DRF door."""

import asyncio
import io
import json
import logging
import logging.config
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import on_a_loop

from chassis import logs, middleware
from gateway.portal.context import log_service
from gateway.portal.middleware import AttachGateway, StripClientIdentity
from gateway.proxy.access_log import AccessLog

Written = Callable[[], list[str]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the lines that have come out since it was last called; a pipe stands for standard error."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr("sys.__stderr__", stream)
        yield lambda: (pipe.read() or b"").decode("ascii").splitlines()


def lines_of(written: Written, *calls: tuple[Any, ...]) -> list[str]:
    """Return what is written of these requests."""

    async def write() -> None:
        log = AccessLog(asyncio.get_running_loop())
        for call in calls:
            log.write(*call)
        assert written() == []
        await asyncio.sleep(0)

    asyncio.run(write())
    return written()


TRACE = "0af7651916cd43dd8448eb211c80319c"

anything = st.text(st.characters(codec=None, exclude_categories=[]), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example("GET", '/"\\\x00\x1f\x7f\xe9\u2028\ud800\n', '"\n\ud800', 200, '"')
@given(
    st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True),
    anything,
    st.none() | anything,
    st.integers(100, 599),
    anything,
)
def test_a_line_is_json_whatever_a_client_sends(
    written: Written, method: str, path: str, user_id: str | None, status: int, peer: str
) -> None:
    to = ("things", "10.0.0.1:80")
    (line,) = lines_of(written, ("0123456789abcdef", TRACE, method, path, status, 0.0123456, user_id, peer, *to))
    said = json.loads(line)
    assert said.pop("time")
    assert said == {
        "level": "INFO",
        "logger": "access",
        "request_id": "0123456789abcdef",
        "trace_id": TRACE,
        "message": f"{method} {path} {status}",
        "method": method,
        "path": path,
        "status": status,
        "duration_ms": 12.35,
        "user_id": user_id,
        "client": peer,
        "service": "things",
        "address": "10.0.0.1:80",
    }


@pytest.mark.parametrize(
    ("user_id", "path", "to"), [(None, "/api/things", None), ("7", '/a"b', ("things", "10.0.0.1:80"))]
)
def test_a_line_has_the_shape_of_the_drf_door_s(
    written: Written, configure: Callable[..., None], user_id: str | None, path: str, to: tuple[str, str] | None
) -> None:
    def view(request: Any) -> HttpResponse:
        if user_id:
            request.META["HTTP_REQUEST_USER_ID"] = user_id
        if to:
            log_service(request, *to)
        return HttpResponse(status=204)

    stream = io.StringIO()
    config = logs.configuration("INFO")
    config["handlers"]["stderr"]["stream"] = stream
    handler = logging.config.DictConfigurator(config).configure
    before = logging.getLogger().handlers[:], logging.getLogger().level
    configure()
    try:
        handler()
        request = RequestFactory().get(path)
        StripClientIdentity(middleware.RequestLogMiddleware(AttachGateway(view)))(request)
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
    drf = json.loads(stream.getvalue().splitlines()[-1])
    (line,) = lines_of(
        written,
        (drf["request_id"], drf["trace_id"], "GET", path, 204, 0.5, user_id, "127.0.0.1", *(to or (None, None))),
    )
    fast = json.loads(line)
    assert list(fast) == list(drf)
    assert {name: type(value) for name, value in fast.items()} == {name: type(value) for name, value in drf.items()}
    variable = {"time", "duration_ms"}
    assert {name: fast[name] for name in fast if name not in variable} == {
        name: drf[name] for name in drf if name not in variable
    }
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
    assert stamp.fullmatch(fast["time"])
    assert stamp.fullmatch(drf["time"])


def test_the_lines_of_one_turn_come_in_their_order(written: Written) -> None:
    calls = [(f"{number:08}", TRACE, "GET", "/", 200, 0.0, None, "203.0.113.7", None, None) for number in range(50)]
    assert [json.loads(line)["request_id"] for line in lines_of(written, *calls)] == [call[0] for call in calls]


@on_a_loop
async def test_what_waits_can_be_written_at_once_and_is_written_once(written: Written) -> None:
    log = AccessLog(asyncio.get_running_loop())
    log.write("0123456789abcdef", TRACE, "GET", "/", 200, 0.0, None, "203.0.113.7", None, None)
    log.flush()
    assert len(written()) == 1
    await asyncio.sleep(0)
    assert written() == []


@on_a_loop
async def test_a_log_that_cannot_be_written_stops_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.__stderr__", stream)
        log = AccessLog(asyncio.get_running_loop())
        for _ in range(2):
            log.write("0123456789abcdef", TRACE, "GET", "/", 200, 0.0, None, "203.0.113.7", None, None)
            await asyncio.sleep(0)


@on_a_loop
async def test_nothing_is_written_where_the_level_is_above_it(written: Written) -> None:
    log = logging.getLogger("access")
    level = log.level
    try:
        log.setLevel(logging.WARNING)
        quiet = AccessLog(asyncio.get_running_loop())
        quiet.write("0123456789abcdef", TRACE, "GET", "/", 200, 0.0, None, "203.0.113.7", None, None)
        await asyncio.sleep(0)
    finally:
        log.setLevel(level)
    assert written() == []
