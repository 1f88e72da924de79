"""The pages of docs/operations: each command is typed, each file is tried."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter
from tests.ports import free_port
from tests.system.documents import assert_output, blocks, typed
from tests.system.stack import ROOT, WORKERS, Stack, until

PAGES = ROOT / "docs" / "operations"
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in a directory as an operator has it, with `var` and room for backups."""
    stack = Stack(
        tmp_path_factory.mktemp("srv") / "var", {"TRUSTED_PROXIES": "127.0.0.1/32"} | dict.fromkeys(WORKERS, "2")
    )
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
    assert stack.processes() == []


def type_all(stack: Stack, text: str, **ports: int) -> None:
    """Type each command of the text, in one shell, and compare what it prints with what is shown below it."""
    ports |= {str(default): stack.ports[name] for name, default in NAMES.items()}

    def here(shown: str) -> str:
        for default, port in ports.items():
            shown = re.sub(rf"\b{default}\b", str(port), shown)
        return shown

    steps = [step for block in blocks(text, "console") for step in typed(block)]
    assert steps
    script = f'cd "{stack.var.parent}"; manage() {{ "{ROOT}/manage_all.sh" "$@"; }}\n'
    for command, _ in steps:
        script += f"{here(command).replace('./manage_all.sh', 'manage')}\nprintf '\\n@@@\\n'\n"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=stack.environ, timeout=300
    )
    for (command, expected), output in zip(steps, done.stdout.split("\n@@@\n"), strict=False):
        assert_output(command, here(expected), output)


NAMES = {"gateway": 8001, "users": 8002, "orders": 8003}


def section(page: str, heading: str) -> str:
    return (PAGES / page).read_text().partition(f"# {heading}\n")[2].partition("\n## ")[0]


def test_a_trace_is_found_in_the_log(own: Stack) -> None:
    type_all(own, section("observability.md", "One request in every log"))


def test_the_histogram_of_a_route_is_in_the_metrics(own: Stack) -> None:
    assert own.ask("GET", "/api/orders").status == 401
    until(lambda: 'http_route="/api/orders"' in own.ask("GET", "/metrics").text, 10, "the metrics")
    type_all(own, section("observability.md", "Metrics"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; tests/deploy fetches it")
def test_prometheus_accepts_the_shipped_configuration() -> None:
    ((command, expected),) = typed(blocks(section("observability.md", "Prometheus"), "console")[0])
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=True)
    assert_output(command, expected, done.stdout)


def test_the_objectives_on_the_page_are_in_the_rules() -> None:
    stated = yaml.safe_load(blocks(section("observability.md", "Prometheus"), "yaml")[0])
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    assert all(rule in rules["groups"][0]["rules"] for rule in stated)


def test_the_alerts_on_the_page_are_those_of_the_rules() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"`(Gatehouse\w+)`", section("observability.md", "Prometheus"))) == alerts


def test_the_first_commands_of_an_incident(own: Stack) -> None:
    own.login("user", "u")
    type_all(own, section("incidents.md", "When something is wrong"))


def test_a_service_that_is_down_is_found_and_started(own: Stack) -> None:
    token = own.login("user", "u")
    own.manage("down", "orders")
    assert own.ask("GET", "/api/orders", token=token).status in {502, 503}
    until(lambda: '"status": 50' in own.var.joinpath("logs", "gateway.log").read_text(), 30, "the log line")
    type_all(own, section("incidents.md", "Requests get 502, 503 or 504"))


def test_a_user_over_the_limit_is_found(own: Stack) -> None:
    token = own.login("user", "u")
    until(lambda: own.ask("GET", "/api/orders", token=token).status == 429, 60, "429")
    until(lambda: '"status": 429' in own.var.joinpath("logs", "gateway.log").read_text(), 30, "the log line")
    type_all(own, section("incidents.md", "Requests get 429"))


def test_the_slowest_request_is_found_in_both_logs(own: Stack) -> None:
    own.login("user", "u")
    type_all(own, section("incidents.md", "Requests are slow"))


def test_sign_ins_are_tried(own: Stack) -> None:
    type_all(own, section("incidents.md", "Sign-ins fail"))


def test_room_is_made_on_a_disk(own: Stack) -> None:
    type_all(own, section("incidents.md", "The disk is full"))
    logs = own.var / "logs"
    assert 0 in {path.stat().st_size for path in logs.iterdir()}
    assert own.login("user", "u")


def test_a_backup_is_restored_beside_the_stack(own: Stack) -> None:
    admin = own.login("admin", "a")
    token = own.login("user", "u")
    until(lambda: own.ask("POST", "/api/orders", ORDER, token=token).status == 201, 90, "an order")
    own.ask("PATCH", "/api/users/2", {"full_name": "A User"}, token=admin)
    page = (PAGES / "restore.md").read_text()
    type_all(own, page, **{str(port): free_port() for port in (18001, 18002, 18003)})
    assert not (own.var.parent / "drill").exists()
    assert (own.var.parent / "backup").stat().st_mode & 0o077 == 0


ORDER = {"item": "book", "address": "Main street 1"}


def test_capacity_is_measured(own: Stack) -> None:
    type_all(own, (PAGES / "capacity.md").read_text())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate of localhost that is its own authority."""
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "privkey.pem", "-out", "fullchain.pem"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    return place


def nginx(own: Stack, certificate: Path, place: Path, port: int) -> list[str]:
    """Write the configuration of the page and return the command that runs it."""
    (shown,) = blocks((PAGES / "tls.md").read_text(), "nginx")
    shown = shown.replace("listen 80;", f"listen 127.0.0.1:{free_port()};").replace("listen 443", f"listen {port}")
    shown = shown.replace("/etc/ssl/gatehouse", str(certificate)).replace("api.example.org", "localhost")
    shown = shown.replace("8001", str(own.ports["gateway"]))
    paths = " ".join(
        f"{name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"daemon off; pid {place}/pid; events {{}} http {{ access_log off; {paths}\n{shown}}}"
    )
    return ["nginx", "-p", str(place), "-e", "stderr", "-c", str(place / "nginx.conf")]


def caddy(own: Stack, certificate: Path, place: Path, port: int) -> list[str]:
    """The same for Caddy, with a certificate of its own and without its port 80."""
    (shown,) = blocks((PAGES / "tls.md").read_text(), "caddy")
    tls = f"tls {certificate}/fullchain.pem {certificate}/privkey.pem"
    shown = shown.replace("api.example.org {", f"https://localhost:{port} {{\n\t{tls}")
    shown = shown.replace("8001", str(own.ports["gateway"]))
    (place / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{shown}")
    return ["caddy", "run", "--config", str(place / "Caddyfile"), "--adapter", "caddyfile"]


class FromOther(HTTPAdapter):
    """Connects from another address of this machine than the proxy does."""

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, source_address=(OTHER, 0), **kwargs)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "caddy"])
def test_a_proxy_terminates_tls(proxy: object, own: Stack, certificate: Path, tmp_path: Path) -> None:
    name = proxy.__name__
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    port = free_port()
    environ = os.environ | {"HOME": str(tmp_path)}
    running = subprocess.Popen(
        proxy(own, certificate, tmp_path, port), env=environ, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        until(lambda: running.poll() is not None or listens(port), 30, "the proxy listens")
        assert running.poll() is None, running.communicate()[1]
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(certificate / "fullchain.pem")
            session.mount("https://", FromOther())
            check_client(session, f"https://localhost:{port}", own)
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)


def check_client(session: requests.Session, url: str, own: Stack) -> None:
    spoofed = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}
    page = session.get(f"{url}/login/", headers=spoofed, timeout=30)
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    form = {"username": "user", "password": "u"}
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    if token:
        form["csrfmiddlewaretoken"] = token[1]
    session.post(f"{url}/login/", form, headers={"Origin": url, "Referer": f"{url}/login/"}, timeout=30)
    assert "__Host-gatehouse-access" in session.cookies
    large = session.post(f"{url}/api/login", b" " * 2_000_000, headers={"Content-Type": "application/json"}, timeout=30)
    assert (large.status_code, large.headers["Content-Type"]) == (413, "application/problem+json")
    doubled = session.send(session.prepare_request(requests.Request("GET", f"{url}/api/%2e%2e/users")), timeout=30)
    assert doubled.status_code == 400
    request_id = page.headers["X-Request-ID"]
    lines = until(lambda: [line for line in own.logs("gateway") if line["request_id"] == request_id], 30, "the line")
    assert lines[-1]["client"] == OTHER


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


UNITS = dict(re.findall(r"`/etc/systemd/system/([\w@./]+)`:\n\n```ini\n(.*?)^```", (PAGES / "systemd.md").read_text(),
                        re.MULTILINE | re.DOTALL))  # fmt: skip


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("name", NAMES)
def test_the_units_are_valid(name: str, tmp_path: Path) -> None:
    for path, text in UNITS.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        # `verify` looks for the program, which is here.
        (tmp_path / path).write_text(text.replace("/srv/gatehouse/.venv/bin", str(Path(sys.executable).parent)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=one", str(tmp_path / f"gatehouse@{name}.service")],
        check=False, capture_output=True, text=True, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr


def settings_of(name: str) -> dict[str, str]:
    """Return the settings of a project's file on the page, with a secret."""
    text = (PAGES / "systemd.md").read_text()
    (shown,) = re.findall(rf"`/etc/gatehouse/{name}\.env`:\n\n```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    settings = dict(line.split("=", 1) for line in shown.splitlines())
    assert settings[f"{name.upper()}_SECRET_KEY"] == ""
    return settings | {f"{name.upper()}_SECRET_KEY": name * 8}


def command_of(key: str, name: str) -> list[str]:
    """Return a command of a project's unit, of the drop-in if that has one."""
    unit = UNITS["gatehouse@.service"] + (UNITS["gatehouse@gateway.service.d/fast.conf"] if name == "gateway" else "")
    line = re.findall(rf"^{key}=(.+)$", unit, re.MULTILINE)[-1].replace("%i", name)
    return shlex.split(line.replace("/srv/gatehouse/.venv/bin", str(Path(sys.executable).parent)))


def test_the_commands_of_the_units_start_the_projects(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    urls = {name: f"http://127.0.0.1:{port}" for name, port in stack.ports.items()}
    own = {"JWKS_URL": f"{urls['gateway']}/.well-known/jwks.json", "GATEHOUSE_VAR": str(stack.var)}
    own |= {"USERS_URL": urls["users"], "ORDERS_URL": urls["orders"]}
    running = []
    try:
        for name in NAMES:
            place: dict[str, Any] = {
                "cwd": ROOT / f"{name}_project",
                "env": stack.environ | settings_of(name) | own,
                "stdout": subprocess.DEVNULL,
                "stderr": subprocess.DEVNULL,
            }
            subprocess.run(command_of("ExecStartPre", name), check=True, **place)
            running.append(subprocess.Popen(command_of("ExecStart", name), start_new_session=True, **place))
        until(lambda: all(map(stack.is_ready, stack.ports)), 60, "all are ready")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)
