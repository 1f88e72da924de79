"""The dashboard, the page of a request and the form of `explain`, for admins alone."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.finders import find
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import PAGE, sign_in
from tests.gateway.runtimes import runtime

from gateway import configuration, in_force
from gateway.history import Recorder
from gateway.identity import audit
from gateway.identity.audit import Event
from gateway.metrics import BOUNDS, Series, SharedMemory, UpstreamSeries
from gateway.portal.dashboard import charts, figures, pages
from gateway.portal.dashboard.figures import Board, Point, Subject

pytestmark = pytest.mark.django_db
PATHS = ("/gateway/", "/gateway/?part=live", "/gateway/requests/?id=x", "/gateway/explain/?target=/api/things")


class Counted:
    """Requests as the workers count them, recorded as the master does."""

    def __init__(self) -> None:
        self.requests: SharedMemory[Series] = SharedMemory(blocks=1, bounds=BOUNDS)
        self.upstreams: SharedMemory[UpstreamSeries] = SharedMemory(blocks=1, key=UpstreamSeries, bounds=BOUNDS)
        self.recorder = Recorder(runtime().history.path, self.requests, self.upstreams)

    def add(self, method: str, route: str, status: int, *times: float) -> None:
        self.requests.add(Series(method, route, status), times)
        self.recorder.record(time.time())

    def upstream(self, service: str, address: str, what: str, *times: float) -> None:
        self.upstreams.add(UpstreamSeries(service, address, what), times)
        self.recorder.record(time.time())


@pytest.fixture(autouse=True)
def fresh() -> None:
    pages.PARTS.kept.clear()


@pytest.fixture
def counted(login: LoginService) -> Counted:
    return Counted()


@pytest.fixture
def admin(login: LoginService) -> Client:
    return browser("admin")


def browser(username: str) -> Client:
    client = Client(raise_request_exception=False, headers={"Host": "testserver"})
    assert sign_in(client, username=username).status_code == 303
    return client


def page(client: Client, path: str = "/gateway/") -> str:
    response = client.get(path, headers=PAGE)
    assert response.status_code == 200, response.content.decode()
    assert response["Cache-Control"] == "no-store"
    return str(response.content.decode())


def section(text: str, name: str) -> str:
    """Return the text of a section without tags."""
    found = re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<title>.*?</title>|<[^>]*>", " ", found[0]).split())


@pytest.mark.parametrize("path", PATHS)
def test_only_admins_see_it(login: LoginService, admin: Client, path: str) -> None:
    visitor, user = Client(headers={"Host": "testserver"}), browser("user")
    assert visitor.get(path, headers=PAGE).status_code == 303
    assert visitor.get(path, headers=PAGE)["Location"].startswith("/login/?next=%2Fgateway%2F")
    assert visitor.get(path).status_code == 401
    for headers in (PAGE, {}):
        response = user.get(path, headers=headers)
        assert response.status_code == 403
        assert b"dash-numbers" not in response.content
    assert admin.get(path, headers=PAGE).status_code == 200
    assert admin.post(path, headers=PAGE | {"Origin": "http://testserver"}).status_code == 405


def test_an_admin_finds_it_from_each_page(login: LoginService, admin: Client) -> None:
    assert 'href="/gateway/"' in page(admin, "/gateway/audit/")
    assert 'href="/gateway/"' not in browser("user").get("/sessions/", headers=PAGE).content.decode()


def test_it_has_the_figures_of_routes_services_and_addresses(admin: Client, counted: Counted) -> None:
    counted.add("GET", "/api/things", 200, *[0.010] * 90, *[0.200] * 4)
    counted.add("HEAD", "/api/things", 200, *[0.010] * 1)
    counted.add("POST", "/api/things", 503, *[0.5] * 5)
    counted.add("GET", "/pages/{path...}", 403, 0.001)
    counted.add("GET", "/healthz", 200, *[0.001] * 7)
    counted.upstream("people", "127.0.0.1:1", "seconds", *[0.02] * 10)
    counted.upstream("people", "127.0.0.1:1", "errors:5xx", 0, 0)
    counted.upstream("people", "127.0.0.1:1", "errors:connect", 0, 0, 0)
    text = page(admin)
    traffic = section(text, "traffic")
    assert 'id="requests" data-value="101"' in text
    assert 'id="errors" data-value="5"' in text
    assert "All routes, 5 minutes" in traffic
    assert re.search(r"Errors \(5xx\) 4\.95 %", traffic)
    breakdown = section(text, "breakdown")
    assert re.search(r"/api/things GET, POST 100 [\d.]+ 5 \(5 %\) 0 9\.\d+ ms 200 ms", breakdown), breakdown
    assert re.search(r"people 101 ", breakdown)
    assert re.search(r"127\.0\.0\.1:1 people 10 [\d.]+ 2 \(20 %\) 3 ", breakdown)
    assert re.search(r"The gateway's own paths 7 |The gateway&#x27;s own paths 7 ", breakdown)


def test_the_charts_can_be_of_one_route_service_or_address(admin: Client, counted: Counted) -> None:
    counted.add("GET", "/api/things", 200, *[0.010] * 5)
    counted.add("GET", "/pages/{path...}", 200, *[0.010] * 2)
    counted.upstream("people", "127.0.0.1:1", "seconds", *[0.02] * 3)
    for subject, number in (("route:/api/things", 5), ("service:people", 7), ("address:people 127.0.0.1:1", 3)):
        text = page(admin, f"/gateway/?of={subject}&window=1h")
        assert f'data-value="{number}"' in text
        assert f"{subject.partition(':')[2]}, 1 hour" in section(text, "traffic")
    assert 'data-value="7"' in page(admin, "/gateway/?of=route:/no/such&window=century")


def test_the_parts_for_scripts_are_those_of_the_page(admin: Client, counted: Counted) -> None:
    counted.add("GET", "/api/things", 200, 0.010)
    whole, live = page(admin), page(admin, "/gateway/?part=live&window=5m")
    assert live in whole
    assert 'data-live="/gateway/?window=5m&amp;part=live"' in whole
    assert set(re.findall(r'<section id="([^"]*)" class="card" [^>]*data-part', live)) == {
        "traffic", "breakdown", "addresses", "problems", "limits", "sign-ins", "keys", "configuration", "uncalled",
    }  # fmt: skip


def test_values_are_on_hover_and_in_a_table(admin: Client, counted: Counted) -> None:
    counted.add("GET", "/api/things", 200, *[0.010] * 50)
    counted.add("GET", "/api/things", 502, *[0.010] * 3)
    text = page(admin)
    assert re.search(
        r"<title>\d\d:\d\d:?\d* ?\d*\d* ?UTC: [\d.]+ requests/s, 3 errors, 0 client errors; p50 [\d.]+ ms", text
    )
    assert re.search(r"From Requests/s Errors Client errors p50 p95 p99 [\d:]+ [\d.]+ 3 0 ", section(text, "traffic"))


def test_a_request_id_leads_to_all_that_is_known_of_the_request(
    admin: Client, counted: Counted, login: LoginService
) -> None:
    text = page(admin)
    assert "No problems are kept." in section(text, "problems")
    response = browser("user").get("/pages/secret", headers={})
    assert response.status_code == 403
    request_id = response["X-Request-ID"]
    pages.PARTS.kept.clear()
    text = page(admin)
    assert f'<a href="/gateway/requests/?id={request_id}">' in text
    found = re.sub(r"<[^>]*>", " ", page(admin, f"/gateway/requests/?id={request_id}"))
    found = " ".join(found.split())
    for part in ("403 permission_denied", "GET /pages/secret", "rejected by allow", "User 2", "Client 127.0.0.1"):
        assert part in found
    assert "/gateway/explain/?method=GET&amp;target=%2Fpages%2Fsecret&amp;user=2" in page(
        admin, f"/gateway/requests/?id={request_id}"
    )
    assert "Not among the recent problems" in page(admin, "/gateway/requests/?id=no-such-request")
    assert "Not among the recent problems" in page(admin, "/gateway/requests/?id=%00")


def test_what_a_client_sends_is_escaped(admin: Client) -> None:
    runtime().problems.record(
        {
            "request_id": "<b>id",
            "method": "GET",
            "path": "/<script>",
            "status": 404,
            "code": "<i>",
            "client": "<u>",
            "seconds": 0.1,
        }
    )
    for path in ("/gateway/", "/gateway/requests/?id=<b>id", "/gateway/explain/?target=/<script>&user=<b>"):
        text = page(admin, path)
        assert not re.search("<script>|<b>|<i>|<u>", text)


def test_limits_show_how_many_and_whom(admin: Client, counted: Counted) -> None:
    counted.add("GET", "/api/things", 429, *[0.001] * 40)
    for number in range(3):
        runtime().problems.record(
            {"request_id": f"r{number}", "method": "GET", "path": "/api/things", "status": 429, "route": "/api/things",
             "limits": ["per user"], "user_id": "7", "client": "192.0.2.1"}
        )  # fmt: skip
    counted.upstream("people", "", "rejected", 0, 0)
    limits = section(page(admin), "limits")
    assert "rate_limit per user /api/things 40 user 7 (3)" in limits
    assert "max_in_flight the people service 2" in limits


def test_sign_ins_keys_configuration_and_routes_are_shown(admin: Client, counted: Counted) -> None:
    audit.record(Event.SIGN_IN_FAILED, username="eve", address="192.0.2.9")
    counted.add("GET", "/api/things", 200, 0.1)
    text = page(admin)
    sign_ins = section(text, "sign-ins")
    assert "Open sessions 1" in sign_ins
    assert "sign_in_failed 1" in sign_ins
    assert "eve from 192.0.2.9" in sign_ins
    assert re.search(r"Key State Age \S+… signs", section(text, "keys"))
    assert "this process" in section(text, "configuration")
    uncalled = section(text, "uncalled")
    assert "/pages/{path...} GET, POST" in uncalled
    assert "/api/things" not in uncalled
    addresses = section(text, "addresses")
    assert re.search(r"127\.0\.0\.1:\d+ people ● healthy", addresses)


def test_explain_is_a_form(admin: Client) -> None:
    text = page(admin, "/gateway/explain/?method=GET&target=/api/things&user=7&address=192.0.2.1")
    assert "Forwarded to the people service" in text
    assert "passport for user 7" in text
    assert "rejected" in page(admin, "/gateway/explain/?method=GET&target=/pages/x&user=7")
    assert "The gateway responds: 401" in page(admin, "/gateway/explain/?target=/api/things")
    assert "The user is an id" in page(admin, "/gateway/explain/?target=/api/things&user=eva")
    for target in ("/a%2Fb", "*", "no path", "/%zz"):
        page(admin, f"/gateway/explain/?target={target}")


def test_ten_who_look_cost_about_as_much_as_one(admin: Client, monkeypatch: Any) -> None:
    rendered = []
    monkeypatch.setitem(pages.FRESH, "traffic-5m", 60.0)
    original = pages.traffic
    monkeypatch.setattr(pages, "traffic", lambda *args: rendered.append(1) or original(*args))
    for _ in range(10):
        page(admin)
    assert len(rendered) == 1


def test_no_part_is_rendered_more_often_than_a_script_asks() -> None:
    script = Path(str(find("gateway/dashboard.js"))).read_text()
    (interval,) = re.findall(r"^const INTERVAL = (\d+);", script, re.MULTILINE)
    assert min(pages.FRESH.values()) * 1000 == int(interval)


def test_a_changed_configuration_is_shown_at_once(admin: Client, configure: Callable[..., None]) -> None:
    config = runtime().config
    page(admin)
    parts = pages.PARTS
    assert parts.get(("now", "x"), runtime(), lambda: "before") == "before"
    assert parts.get(("now", "x"), runtime().successor(config), lambda: "after") == "after"


@pytest.fixture
def changed(admin: Client, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A gateway.yaml whose content is not in force."""
    path = tmp_path / "changed.yaml"
    path.write_text("version: 1\n")
    settings.GATEWAY_CONFIG = path
    loaded = configuration.Loaded(runtime().config, path, "0" * 64, b"")
    monkeypatch.setattr(configuration, "loaded", loaded)
    yield path
    in_force.accept()


def test_a_file_on_disk_that_is_not_in_force_has_its_reason_and_the_next_command(admin: Client, changed: Path) -> None:
    assert "is not in force. Take it up with: <code>./manage_all.sh reload gateway</code>" in page(admin)
    in_force.reject(2)
    pages.PARTS.kept.clear()
    text = page(admin)
    assert re.search(r"is not in force\. It was rejected at \S+ for 2 faults\. See them with: ", text)
    assert "<code>./manage_all.sh gateway check</code>" in text


def points(*counts: int) -> Iterator[Point]:
    for index, count in enumerate(counts):
        found = figures.Figures()
        if count:
            found.add(200, figures.Times({50: count}))
        yield Point(1_800_000_000 + 10 * index, 10, found)


def test_a_chart_has_round_ticks_and_gaps() -> None:
    chart = charts.requests_chart(list(points(10, 0, 70)))
    assert [label for _, label in chart.ticks] == ["0", "5", "10"]
    assert [len(bars) for _, _, _, bars in chart.columns] == [1, 0, 1]
    assert [label for _, label, _ in chart.moments] == ["08:00", "08:00:20", "now"]
    (line,) = [path for kind, _, path, _ in charts.times_chart(list(points(10, 0, 70, 70))).lines if kind == "p50"]
    assert line.count("M") == 2
    assert [charts.ceiling(value) for value in (0, 0.3, 1, 1.1, 20, 49)] == [1.0, 0.5, 1.0, 2.0, 20.0, 50.0]
    assert [charts.number(value) for value in (0, 0.01234, 1.5, 12.34, 123.4, 12345)] == [
        "0", "0.0123", "1.5", "12.3", "123", "12,345",
    ]  # fmt: skip


def test_a_subject_is_one_that_the_configuration_has(login: LoginService) -> None:
    config = runtime().config
    assert Subject.of("route:/api/things", config) == Subject("route", "/api/things")
    assert Subject.of("service:people", config) == Subject("service", "people")
    for text in ("", "route:/x", "service:x", "address:x 1", "planet:people", "people"):
        assert Subject.of(text, config) == Subject()
    assert Board(config).requests({}, Subject()).count == 0
