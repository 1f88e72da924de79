"""deploy/prometheus and deploy/grafana: the rules parse and alert, and every name is one of a real /metrics."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.gateways import Gateway
from tests.ports import free_port
from tests.waiting import wait_until

from gateway.metrics import BUCKETS

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "gatehouse.json"
RULES_TEST = Path(__file__).with_name("rules.test.yml")
# Prometheus adds these to what it reads.
OF_TARGETS = {"instance", "job"}
GIVEN = {"up": OF_TARGETS}


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each query is, and the query with Grafana's variables filled in."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], re.sub(r"\$__rate_interval", "5m", target["expr"])


def selectors(node: Any) -> Iterator[Any]:
    """Yield the metrics that an expression selects."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from selectors(child)
    for child in getattr(node, "args", None) or []:
        yield from selectors(child)


def labels(expression: str) -> set[str]:
    """Return the labels that an expression groups or matches by."""
    words = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)
    return {label.strip() for word in words for label in word.split(",") if label.strip()}


class Slow(ThreadingHTTPServer):
    """Responds with 503 to /broken, late to /slow, and with 200 otherwise."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(503 if self.path == "/broken" else 200)
                if self.path == "/slow":
                    time.sleep(0.5)  # what a slow service is
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric in the /metrics of a gateway that has seen every kind of trouble."""
    service = Slow()
    url = f"http://127.0.0.1:{service.server_port}"
    common = {"methods": ["GET"], "allow": "public"}
    config = {
        "services": {
            "things": {"url": url, "max_in_flight": 1},
            "broken": {"url": url, "retry": {"attempts": 3, "on": ["503"]}},
            "away": {"url": f"http://127.0.0.1:{free_port()}"},
        },
        "routes": [
            {"path": "/slow", "service": "things", **common, "deprecated": {"since": "2026-01-01"}},
            {"path": "/broken", "service": "broken", **common},
            {"path": "/away", "service": "away", **common},
        ],
    }

    def ask(path: str) -> str:
        try:
            with urllib.request.urlopen(running.url + path, timeout=30) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as exc:
            return exc.read().decode()

    def read() -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for family in text_string_to_metric_families(ask("/metrics")):
            # A family without a series has a name.
            found[f"{family.name}_total" if family.type == "counter" else family.name] |= set()
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
        return found

    with Gateway("fast", tmp_path_factory.mktemp("exposed") / "var", config) as running:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, ["/slow"] * 8 + ["/broken"] * 60 + ["/away"] * 10))
        wanted = {
            "gateway_service_retries_total", "gateway_service_retries_rejected_total", "gateway_service_rejected_total",
            "gateway_upstream_errors_total", "gateway_upstream_ejections_total", "gateway_upstream_seconds_bucket",
            "gateway_deprecated_requests_total",
        }  # fmt: skip
        wait_until(lambda: wanted <= read().keys(), "the metrics of troubles")
        return read()


@pytest.mark.parametrize(("place", "query"), [*queries()], ids=lambda value: str(value)[:40])
def test_every_metric_and_label_of_a_query_exists(place: str, query: str, exposed: dict[str, set[str]]) -> None:
    recorded = {rule["record"]: {"http_route"} for rule in rules() if "record" in rule}
    known = exposed | recorded | GIVEN
    found = [*selectors(promql_parser.parse(query))]
    assert found or query.startswith("vector("), place
    available = set(OF_TARGETS)
    for selector in found:
        assert selector.name in known, f"{place}: {selector.name} is not in /metrics"
        own = known[selector.name] | OF_TARGETS
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= own, f"{place}: {selector.name} has no {used - own}"
        available |= own
    # A gauge or counter that this gateway has not counted yet shows no labels.
    silent = any(known[selector.name] == set() for selector in found)
    assert silent or labels(query) <= available, f"{place}: no {labels(query) - available}"


def test_the_bounds_that_rules_name_are_bounds_of_the_histogram() -> None:
    named = set(re.findall(r'le="([^"]+)"', (PROMETHEUS / "rules.yml").read_text()))
    assert named
    assert named <= {str(bound) for bound in BUCKETS}


def test_the_routes_with_an_objective_are_routes() -> None:
    routes = {route["path"] for route in yaml.safe_load((ROOT / "gateway_project/gateway.yaml").read_text())["routes"]}
    stated = {rule["labels"]["http_route"] for rule in rules() if rule.get("record", "").endswith(":objective")}
    assert stated
    assert stated <= routes


@pytest.mark.parametrize(("place", "query"), [(panel["title"], target["legendFormat"])
                                              for panel in dashboard()["panels"]
                                              for target in panel.get("targets", [])])  # fmt: skip
def test_the_labels_of_a_legend_are_in_its_query(place: str, query: str) -> None:
    expressions = " ".join(
        target["expr"]
        for panel in dashboard()["panels"]
        if panel["title"] == place
        for target in panel["targets"]
        if target["legendFormat"] == query
    )
    assert set(re.findall(r"\{\{(\w+)\}\}", query)) <= labels(expressions)


def test_the_dashboard_has_a_place_for_each_panel() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Prometheus' own checker: of this machine, or from Debian's package, which is unpacked and not installed."""
    if found := shutil.which("promtool"):
        return found
    folder = tmp_path_factory.mktemp("prometheus")
    if (
        shutil.which("apt-get") is None
        or subprocess.run(
            ["apt-get", "download", "prometheus"], cwd=folder, check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("promtool is not installed, and Debian's package prometheus cannot be downloaded")
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return str(folder / "usr" / "bin" / "promtool")


def test_prometheus_accepts_the_configuration_and_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "config", str(PROMETHEUS / "prometheus.yml")], check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_the_alerts_fire_when_they_should_and_end(promtool: str) -> None:
    done = subprocess.run([promtool, "test", "rules", str(RULES_TEST)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = {case["alertname"] for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
              for case in test["alert_rule_test"]}  # fmt: skip
    assert tested == {rule["alert"] for rule in rules() if "alert" in rule}
