"""Types docs/django.md: an unchanged Django project behind a real gateway. Tests its forms and pages at both doors."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.ports import free_port
from tests.system.documents import assert_output, blocks, config_with, typed
from tests.system.stack import ROOT, Stack, until

CHAPTER = (ROOT / "docs" / "django.md").read_text()
# A fenced block, and the file that the line before it names.
BLOCK = re.compile(r"(?:`([\w/.]+\.py)`:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONFIG: dict[str, Any] = yaml.safe_load(blocks(CHAPTER, "yaml")[0])


@dataclass
class Reader:
    """Follows the chapter in a folder of its own."""

    folder: Path
    stack: Stack
    port: int
    variables: dict[str, str] = field(default_factory=dict)
    server: "subprocess.Popen[bytes] | None" = None

    def local(self, text: str) -> str:
        """Return the text with this test's ports."""
        return text.replace(":8001", f":{self.stack.ports['gateway']}").replace("9000", str(self.port))

    def run(self, command: str) -> str:
        """Return the output of a command; later commands see the variables that it assigns."""
        if command.startswith("./manage_all.sh"):
            files = [str(self.folder / word) if word.endswith(".json") else word for word in shlex.split(command)[1:]]
            done = self.stack.manage(*files, check=False)
        else:
            assigned = re.match(r"([A-Z_]+)=\$\(", command)
            script = f'{command}; printf %s "${assigned[1]}"' if assigned else command
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=self.folder, env=os.environ | {"PATH": path} | self.variables,
                check=False, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            if assigned:
                self.variables[assigned[1]] = done.stdout
                return ""
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> None:
        """Start the service again with this command."""
        self.stop()
        with (self.folder / "service.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, *shlex.split(command)[1:]], cwd=self.folder, stdout=log, stderr=log
            )
        until(lambda: responds(f"http://127.0.0.1:{self.port}/api/"), 60, "the service is up")

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20)
            self.server = None

    def write(self, name: str, source: str) -> None:
        path = self.folder / name
        before = path.read_text() if name.endswith("settings.py") else ""
        path.write_text(before + source)

    def type(self, block: str) -> None:
        """Run the commands of a block and compare their output with the block."""
        for command, expected in typed(self.local(block)):
            if "runserver" in command:
                self.start(command)
                continue
            output = self.run(command)
            if expected:
                assert_output(command, expected, output)

    def configure(self) -> None:
        """Add the entries of the chapter to the default gateway.yaml."""
        added = json.loads(self.local(json.dumps(CONFIG)))
        (self.folder / "gateway.yaml").write_text(config_with(added))


def responds(url: str) -> bool:
    """Return whether a server responds at this URL."""
    try:
        return requests.get(url, timeout=5).status_code < 500
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has followed the whole chapter."""
    folder = tmp_path_factory.mktemp("reader")
    stack = Stack(folder / "var", {"GATEWAY_CONFIG": str(folder / "gateway.yaml"), "GATEWAY_WORKERS": "1"})
    reader = Reader(folder, stack, free_port())
    try:
        for name, language, text in BLOCK.findall(CHAPTER):
            if language == "python":
                reader.write(name, text)
            elif language == "yaml":
                reader.configure()
            else:
                reader.type(text)
        yield reader
    finally:
        reader.stop()
        stack.down()
    assert stack.processes() == []


def test_every_block_of_the_chapter_works(reader: Reader) -> None:
    """The fixture runs the blocks. Each is a file, the configuration of the gateway, or commands."""
    assert {language for _, language, _ in BLOCK.findall(CHAPTER)} == {"python", "yaml", "console"}
    assert all(name for name, language, _ in BLOCK.findall(CHAPTER) if language == "python")
    assert reader.variables["TOKEN"].count(".") == 2


@pytest.fixture(scope="module", params=DOORS)
def gateway(
    request: pytest.FixtureRequest, reader: Reader, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway in front of the service of the chapter, at one door, with public routes only."""
    door: Door = request.param
    url = f"http://127.0.0.1:{reader.port}"
    services = {
        "shop": CONFIG["services"]["shop"] | {"url": url},
        "unkept": {"url": url},
    }
    routes = [route | {"allow": "public"} for route in CONFIG["routes"]]
    routes.append(
        {"path": "/shop/accounts/{path...}", "service": "unkept", "allow": "public", "browser": "passthrough"}
    )
    environ = {"TRUSTED_PROXIES": "127.0.0.0/8"}
    with Gateway(
        door, tmp_path_factory.mktemp(door) / "var", {"services": services, "routes": routes}, environ=environ
    ) as running:
        yield running


def session(**headers: str) -> requests.Session:
    """Return a client that keeps cookies."""
    client = requests.Session()
    client.trust_env = False
    client.headers.update(headers)
    return client


def sign_in(client: requests.Session, url: str, origin: str) -> requests.Response:
    """Send a login form as a browser does."""
    page = client.get(url, headers={"Accept": "text/html"}, allow_redirects=True)
    assert page.status_code == 200, page.text
    (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text))
    form = {"csrfmiddlewaretoken": token, "username": "eva", "password": "old password", "next": "/shop/admin/"}
    sent = {"Accept": "text/html", "Origin": origin, "Referer": url}
    return client.post(url, form, headers=sent, allow_redirects=False)


def test_lists_items_and_links_work_through_each_door(gateway: Gateway) -> None:
    client = session()
    books = f"{gateway.url}/api/books"
    made = [client.post(books, json={"title": str(number)}) for number in range(3)]
    assert [each.status_code for each in made] == [201] * 3
    for each in made:
        # Django REST framework sends the link twice: as `Location`, and as `url` in the body.
        assert each.headers["Location"] == f"{books}/{each.json()['id']}"
        for link in (each.headers["Location"], each.json()["url"]):
            assert client.get(link).json() == each.json()
    page, seen = client.get(books).json(), []
    while True:
        seen += page["results"]
        if page["next"] is None:
            break
        assert page["next"].startswith(f"{books}?page=")
        page = client.get(page["next"]).json()
    assert seen[-3:] == [each.json() for each in made]
    assert client.put(f"{books}/{made[0].json()['id']}/", json={"title": "new"}).json()["title"] == "new"
    for each in made:
        assert client.delete(each.headers["Location"]).status_code == 204


def test_djangos_own_login_form_signs_in_through_each_door(gateway: Gateway) -> None:
    client = session()
    done = sign_in(client, f"{gateway.url}/shop/admin/login/", gateway.url)
    assert (done.status_code, done.headers["Location"]) == (302, "/shop/admin/")
    page = client.get(f"{gateway.url}/shop/admin", headers={"Accept": "text/html"})
    assert (page.status_code, page.url) == (200, f"{gateway.url}/shop/admin/")
    assert "Site administration" in page.text
    (style,) = re.findall(r'href="(/shop/static/admin/css/base[^"]*)"', page.text)
    assert client.get(gateway.url + style).headers["Content-Type"].startswith("text/css")


def test_without_host_keep_a_form_is_403_as_documented(gateway: Gateway) -> None:
    done = sign_in(session(), f"{gateway.url}/shop/accounts/login/", gateway.url)
    assert (done.status_code, "CSRF verification failed" in done.text) == (403, True)


def test_over_https_forms_and_links_have_the_public_origin(gateway: Gateway) -> None:
    """The proxy before the gateway sends scheme and host; `SECURE_PROXY_SSL_HEADER` makes Django accept them."""
    client = session(**{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1:444"})
    public = "https://127.0.0.1:444"
    made = client.post(f"{gateway.url}/api/books", json={"title": "https"}).json()
    assert made["url"] == f"{public}/api/books/{made['id']}/"
    page = client.get(f"{gateway.url}/shop/admin/login/")
    (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text))
    form = {"csrfmiddlewaretoken": token, "username": "eva", "password": "old password"}
    for origin, status in ((public, 302), (gateway.url, 403)):
        cookies = dict(page.cookies)
        done = requests.post(
            f"{gateway.url}/shop/admin/login/", form, cookies=cookies, allow_redirects=False,
            headers=dict(client.headers) | {"Origin": origin, "Referer": f"{origin}/"},
        )  # fmt: skip
        assert done.status_code == status


def test_routes_with_a_trailing_slash_match_the_paths_of_the_service(reader: Reader, tmp_path: Path) -> None:
    routes = [
        {"path": path, "service": "shop", "allow": "public"} for path in ("/api/books/", "/api/books/{id}/", "/api")
    ]
    config = {"services": {"shop": {"url": f"http://127.0.0.1:{reader.port}", "host": "keep"}}, "routes": routes}
    with Gateway("fast", tmp_path / "var", config) as gateway:
        client = session()
        # A 308 keeps method and body.
        made = client.post(f"{gateway.url}/api/books", json={"title": "as written"})
        assert (made.status_code, [each.status_code for each in made.history]) == (201, [308])
        assert made.headers["Location"] == f"{gateway.url}/api/books/{made.json()['id']}/"
        assert client.get(made.headers["Location"]).json() == made.json()
        # The error of a redirect loop names the remedy.
        refused = client.get(f"{gateway.url}/api")
        assert (refused.status_code, refused.json()["service"]) == (502, "shop")
        assert "trailing_slash: append" in refused.json()["detail"]
