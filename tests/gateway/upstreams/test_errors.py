"""Why a service failed, in the log."""

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.upstreams.origin import OpenPools, Origin, Wire, on_a_loop, responding, silent
from tests.gateway.upstreams.test_pools import certificate

from gateway.config import Timeouts
from gateway.policy.rejections import UpstreamError
from gateway.upstreams import Pools, fetch, pools
from gateway.upstreams.errors import ErrorLog

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMEOUTS = Timeouts().model_copy(update={"connect": 5.0, "total": 5.0})


async def failure(pools: Pools, **timeouts: float) -> UpstreamError:
    with pytest.raises(UpstreamError) as failed:
        await fetch(pools, "things", "/", timeouts=TIMEOUTS.model_copy(update=timeouts))
    return failed.value


@on_a_loop
async def test_a_refused_connection_is_logged_once_with_its_address(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(silent) as origin:
        url = origin.url
    async with OpenPools((url,)) as ours:
        for _ in range(3):
            failed = await failure(ours)
            assert failed.reason == "cannot be reached: connection refused"
            assert failed.address == url.removeprefix("http://")
            assert failed.detail == "The things service cannot be reached. Try again later."
    (line,) = caplog.records
    assert line.getMessage() == f"The things service at {failed.address} cannot be reached: connection refused"
    assert (line.levelname, line.__dict__["service"], line.__dict__["address"]) == ("WARNING", "things", failed.address)


@on_a_loop
async def test_an_address_that_another_stands_in_for_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    async with Origin(responding(OK)) as origin, OpenPools((gone, origin.url)) as ours:
        assert (await fetch(ours, "things", "/", timeouts=TIMEOUTS)).status == 200
    assert [record.__dict__["address"] for record in caplog.records] == [gone.removeprefix("http://")]


@on_a_loop
async def test_an_unknown_name_is_called_one(caplog: pytest.LogCaptureFixture) -> None:
    async with OpenPools(("http://things.invalid:81",)) as ours:
        failed = await failure(ours, connect=9.0, total=9.0)
    assert failed.reason == "cannot be reached: its name cannot be resolved"
    assert "at things.invalid:81 cannot be reached: its name cannot be resolved (" in caplog.text


def test_a_certificate_that_is_not_accepted_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    its, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(its, key)
    pools.tls.cache_clear()

    @on_a_loop
    async def ask() -> None:
        async with (
            Origin(responding(OK), tls=context) as origin,
            OpenPools((f"https://127.0.0.1:{origin.port}",)) as ours,
        ):
            failed = await failure(ours)
            assert failed.reason == "cannot be reached: its certificate is not accepted"

    try:
        ask()
    finally:
        pools.tls.cache_clear()
    assert "its certificate is not accepted (self" in caplog.text


@on_a_loop
async def test_a_service_without_tls_is_called_one(caplog: pytest.LogCaptureFixture) -> None:
    async def without_tls(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.ended()

    async with Origin(without_tls) as origin, OpenPools((f"https://127.0.0.1:{origin.port}",)) as ours:
        failed = await failure(ours)
    assert failed.reason == "cannot be reached: no TLS connection could be made"


@pytest.mark.parametrize(
    ("said", "timeouts", "reason"),
    [
        (b"", {}, "closed the connection before its response was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", {}, "sent a malformed response"),
        (OK[:20], {"total": 0.1}, "did not respond in time"),
    ],
)
@on_a_loop
async def test_what_goes_wrong_after_that_is_logged_too(
    caplog: pytest.LogCaptureFixture, said: bytes, timeouts: dict[str, Any], reason: str
) -> None:
    async with Origin(responding(said)) as origin, OpenPools((origin.url,)) as ours:
        failed = await failure(ours, **timeouts)
    assert (failed.reason, failed.cause) == (reason, "")
    (line,) = caplog.records
    assert line.getMessage() == f"The things service at {failed.address} {reason}"


def test_the_next_line_counts_the_suppressed_ones_by_cause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = ErrorLog(interval=60)
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for address, cause in [("a:1", "x"), ("a:1", "x"), ("a:1", "x"), ("b:1", "x"), ("a:1", "y")]:
        errors.note("things", address, cause)
    now += 60
    errors.note("things", "a:1", "x", "more", level=logging.ERROR)
    errors.note("things", "b:1", "x")
    assert [record.getMessage() for record in caplog.records] == [
        "The things service at a:1 x",
        "The things service at b:1 x",
        "The things service at a:1 y",
        "The things service at a:1 x (more); 2 times more since the last line",
        "The things service at b:1 x",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3 + ["ERROR", "WARNING"]
