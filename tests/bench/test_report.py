"""The figures of the benchmark's report, from samples whose medians and ratios are known."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.bench import chains, compare, orders, report
from tests.bench.idle import Idle
from tests.bench.load import LOADS, Sample
from tests.bench.paced import is_whole, paced

TITLES = {"envoy": "Envoy, jwt_authn", "fast": "Gatehouse, fast door"}
RUN = {
    "date": "2026-01-31",
    "processor": "A processor",
    "cores": 2,
    "python": "Python 3.11.7 built with PGO",
    "notes": [],
    "rounds": 3,
    "seconds": 4.0,
}


def samples(*rates: float, p99: float = 4.0, failed: int = 0) -> list[Sample]:
    return [Sample(rate, 2.0, p99, 1e6 / rate, 1.0, int(rate * 4), failed) for rate in rates]


MEASURED = {
    "varied": {
        "direct": samples(60000, 60000, 60000),
        # Half the speed in the second round, as on a machine that others use too: ratios do not see it.
        "envoy": samples(10000, 5000, 10000),
        "fast": samples(11000, 5500, 11000, p99=6.0),
    },
    "half": {"envoy": samples(5000, 2500, 5000), "fast": samples(5500, 2750, 5500, p99=2.0)},
    "many": {"fast-1000": samples(10000, 5000, 10000)},
    "scaled": {"fast-1": samples(8000, 4000, 8000), "fast-2": samples(15000, 7500, 15000)},
}
FOUND = {"fast": (1.5, Idle(100, 200, 10240)), "envoy": (0.1, None)}


def rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of each table's line with that title."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells[1:] for cells in lines if cells[0] == title]


def test_the_report_has_medians_and_ratios_within_the_round() -> None:
    text = report.text(RUN, MEASURED, TITLES, FOUND)
    speeds, bodies, costs, latencies, idle = rows(text, "Gatehouse, fast door")
    assert speeds == ["", "", "11,000", "1.10", "", ""]
    assert bodies == ["", "", "", ""]
    assert costs == ["", "90.9", "0.91", "", "", "", "100%"]
    assert latencies == ["2.00", "6.00", "1.50", "5,500", "2.00", "2.00", "0.50"]
    assert idle == ["1.50", "100", "200", "10.0"]
    assert rows(text, "Envoy, jwt_authn")[0][2:4] == ["10,000", "1.00"]
    assert rows(text, "1,000 routes, 10,000 users") == [["10,000", "100.0", "1.10"]]
    assert rows(text, "two workers, all cores") == [["15,000", "66.7", "0.53"]]
    assert "60,000 varied GETs/s. No request failed." in text


def test_without_envoy_there_are_no_ratios() -> None:
    measured = {"varied": {"fast": MEASURED["varied"]["fast"]}}
    assert report.ratio(measured, "varied", "fast", "rate") is None
    assert rows(report.text(RUN, measured, {"fast": "Fast"}, {}), "Fast")[0] == ["", "", "11,000", "", "", ""]


def test_failed_requests_are_added_up() -> None:
    measured = {"get": {"envoy": samples(100, 100, failed=3)}, "varied": {"envoy": samples(100, failed=1)}}
    assert report.failures(measured) == {"envoy": 7}
    assert "Requests failed: {'envoy': 7}." in report.text(RUN, measured, TITLES, {})


def test_the_chart_is_xml_with_a_bar_for_each_gateway() -> None:
    drawn = ET.fromstring(report.chart(MEASURED, TITLES))
    bars = drawn.findall("{*}rect")
    assert [float(bar.attrib["width"]) for bar in bars] == pytest.approx([360, 360 * 10 / 11], abs=0.1)


@pytest.mark.parametrize(
    ("response", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nA: b\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_a_response_is_whole_with_its_last_byte(response: bytes, whole: bool) -> None:
    assert is_whole(response) is whole


class Stalling(BaseHTTPRequestHandler):
    """Answers at once, but for one request that takes a second."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/50":
            threading.Event().wait(1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def test_requests_that_were_due_while_the_server_stalled_count_as_late() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            request: Callable[[int], bytes] = lambda number: f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode()  # noqa: E731
            figures = paced(server.server_address[1], request, connections=1, rate=100, seconds=2)
        finally:
            server.shutdown()
    assert (figures["requests"], figures["refused"]) == (200, 0)
    # A load that waits for each response would have one slow request in 200, and a p99 near 0.
    assert figures["p99_ms"] > 900


def test_a_connection_may_have_a_descriptor_above_1023() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    with ExitStack() as opened, ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        for _ in range(1100):
            opened.enter_context(Path(os.devnull).open("rb"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            figures = paced(server.server_address[1], lambda _: request, connections=2, rate=100, seconds=0.2)
        finally:
            server.shutdown()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert figures["requests"] == 20


def test_publishing_replaces_what_is_between_the_marks_and_nothing_else() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.published(document, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.published(once, "new") == once
    with pytest.raises(ValueError, match="results"):
        report.published("no marks", "new")


def test_the_orders_report_has_a_row_for_each_case_and_the_page_s_ratio() -> None:
    found = [
        orders.Case(title, [], {}, rates=[500.0], cpus=[cpu], p99s=[3.0], failed=[0])
        for title, cpu in (("list", 800.0), ("page of few", 1000.0), ("page of many", 1050.0), ("amid many", 1100.0))
    ]
    lines = orders.text("where", found).splitlines()
    assert [cell.strip() for cell in lines[4].strip("|").split("|")] == ["list", "500", "3.0", "800", "1,250", "0"]
    assert lines[-1].endswith("1.05.")
    document = f"{report.BEGIN}\nkept\n{report.END}\n{orders.BEGIN}\nold\n{orders.END}\n"
    written = report.published(document, "new", orders.BEGIN, orders.END)
    assert "kept" in written
    assert "old" not in written


def test_the_chains_report_compares_within_the_round() -> None:
    def measured(title: str, *rates: float) -> chains.Chain:
        cases = {
            what: orders.Case(
                title, [], {}, rates=[rate * times for rate in rates], cpus=[900.0], p99s=[30.0], failed=[1]
            )
            for what, times in ((chains.LIST, 1), (chains.PLACE, 0.5))
        }
        return chains.Chain(title, [], cases)

    # The machine was half as fast in the second round, for both.
    lines = chains.text([measured(chains.OWN, 1500, 750, 1500), measured("FastAPI", 1000, 500, 1000)]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["Gatehouse", "1,500", "750", "", "900", "30.0", "2"]
    assert [cell.strip() for cell in lines[3].split("|")[1:5]] == ["FastAPI", "1,000", "500", "1.50 and 1.50"]


def test_two_checkouts_are_compared_within_the_round() -> None:
    # The machine was half as fast in the second round, for both.
    pair = compare.Pair(LOADS[0], samples(11000, 5500, 11000), samples(10000, 5000, 10000, failed=1))
    (line,) = compare.text([pair], Path("other")).splitlines()[2:]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["GET, repeated", "90.9", "100.0", "0.909", "0.909 – 0.909", "1.100", "1.000", "3"]


def test_the_program_starts_without_djangos_settings() -> None:
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": f"{root}:{root / 'gateway_project'}:{root / 'chassis' / 'src'}"}
    environ.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--help"], check=False, capture_output=True, text=True, env=environ
    )
    assert "--against" in done.stdout, done.stderr
