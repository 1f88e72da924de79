"""docs/service.md, typed: a fresh Django project becomes a service behind a real gateway."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.ports import free_port
from tests.system.documents import assert_output, blocks, config_with, typed
from tests.system.stack import ROOT, Stack, until

CHAPTER = (ROOT / "docs" / "service.md").read_text()
# A fenced block, with the file that the text before it names.
BLOCK = re.compile(r"(?:`([\w/.]+\.py)`[^`\n]*(?:\n[^`\n]+)*:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Does what the chapter says, in a folder of its own, with the package as pip installs it."""

    folder: Path
    stack: Stack
    port: int

    def __post_init__(self) -> None:
        self.environ = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "site"),
        }
        self.project = self.folder / "library"

    def local(self, text: str) -> str:
        """Return the text with this test's ports."""
        for port, own in ((8001, self.stack.ports["gateway"]), (9000, self.port)):
            text = text.replace(f":{port}", f":{own}").replace(f" {port}\n", f" {own}\n")
        return text

    def run(self, command: str, **more: str) -> str:
        where = self.project if self.project.exists() else self.folder
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=where,
            env=self.environ | more,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self) -> None:
        """Install the package without its dependencies: they are installed, and there may be no index."""
        source = self.folder / "source"
        shutil.copytree(ROOT / "chassis", source, ignore=shutil.ignore_patterns("tests", "*.egg-info", "build"))
        pip = f"{sys.executable} -m pip install --quiet --no-index --no-deps --no-build-isolation"
        self.run(f"{pip} --target {self.folder / 'site'} {source}")

    def write(self, name: str, source: str) -> None:
        path = self.project / name
        before = path.read_text() if name.endswith("settings.py") else ""
        path.write_text(before + self.local(source))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has made the project and started it, before the gateway."""
    folder = tmp_path_factory.mktemp("reader")
    stack = Stack(folder / "var", {"GATEWAY_CONFIG": str(folder / "gateway.yaml"), "GATEWAY_WORKERS": "1"})
    reader = Reader(folder, stack, free_port())
    server = None
    try:
        for name, language, text in BLOCK.findall(CHAPTER.partition("## Put it behind")[0]):
            if language == "python":
                reader.write(name, text)
                continue
            for command, output in typed(text):
                if command.startswith("pip install"):
                    reader.install()
                elif "runserver" in command:
                    server = start(reader, command)
                elif not command.startswith("cd "):
                    assert output in {"", reader.run(command)}, command
        assert server is not None
        until(lambda: ask(f"http://127.0.0.1:{reader.port}/healthz") == 200, 30, "the service is up")
        yield reader
    finally:
        if server is not None:
            server.terminate()
            server.wait(10)
        stack.down()
    assert stack.processes() == []


def start(reader: Reader, command: str) -> "subprocess.Popen[bytes]":
    with (reader.folder / "service.log").open("wb") as log:
        own = f"exec {reader.local(command + chr(10))}"
        return subprocess.Popen(["bash", "-c", own], cwd=reader.project, env=reader.environ, stdout=log, stderr=log)


def ask(url: str) -> int:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError:
        return 0


@pytest.fixture(scope="module")
def entries() -> dict[str, object]:
    """The entries of gateway.yaml that the chapter shows."""
    (shown,) = blocks(CHAPTER, "yaml")
    return dict(yaml.safe_load(shown))


def test_the_gateway_suggests_the_entries_of_the_chapter_without_allow(
    reader: Reader, entries: dict[str, object]
) -> None:
    (command,) = re.findall(r"^\$ \./manage_all\.sh (gateway suggest .*)$", CHAPTER, re.MULTILINE)
    shutil.copy(ROOT / "gateway_project" / "gateway.yaml", reader.folder / "gateway.yaml")
    done = reader.stack.manage(*reader.local(command).split())
    suggested = yaml.safe_load(done.stdout)
    assert suggested["routes"] == [route | {"allow": None} for route in entries["routes"]]
    assert suggested["services"] == yaml.safe_load(reader.local(json.dumps(entries["services"])))


def test_the_service_behind_the_gateway_responds_as_the_chapter_shows(
    reader: Reader, entries: dict[str, object]
) -> None:
    added = json.loads(reader.local(json.dumps(entries)))
    (reader.folder / "gateway.yaml").write_text(config_with(added))
    reader.stack.manage("up", "-d", "users", "gateway")
    tokens = {"ADMIN": reader.stack.login("admin", "a"), "DEFAULT": reader.stack.login("user", "u")}
    steps = [step for step in typed_after("## Put it behind") if step[0].startswith("curl")]
    assert len(steps) == 5
    for command, expected in steps:
        output = reader.run(reader.local(command), **tokens)
        assert_output(command, expected, output)
    document = reader.stack.ask("GET", "/openapi.json").json
    assert set(document["paths"]["/books/{id}"]) == {"get", "put", "patch", "delete"}
    made = reader.stack.ask("POST", "/books", {"title": "Solaris"}, token=tokens["DEFAULT"])
    listed = reader.stack.ask("GET", "/books?limit=1", token=tokens["DEFAULT"])
    assert (made.status, listed.json["results"]) == (201, [made.json])


def test_the_service_has_pages_and_forms_without_a_line_of_its_own(reader: Reader) -> None:
    token = reader.stack.login("user", "u")
    page = reader.stack.ask("GET", "/books", token=token, Accept="text/html").text
    for part in ("chassis/look.css", 'class="gh-header"', 'name="/title"', "Solaris", "As HTTPie"):
        assert part in page, part
    form = {"Accept": "text/html", "Content_Type": "application/x-www-form-urlencoded"}
    form["Origin"] = f"http://127.0.0.1:{reader.stack.ports['gateway']}"
    empty = reader.stack.ask("POST", "/gateway/send/books", b"method=POST&%2Ftitle=", token=token, **form)
    assert (empty.status, "may not be blank" in empty.text) == (400, True)
    sent = reader.stack.ask("POST", "/gateway/send/books", b"method=POST&%2Ftitle=Kindred", token=token, **form)
    assert sent.status == 201
    assert reader.stack.ask("GET", "/books?limit=1", token=token).json["results"][0]["title"] == "Kindred"


def test_a_request_has_one_id_in_the_logs_of_gateway_and_service(reader: Reader) -> None:
    token = reader.stack.login("user", "u")
    reply = reader.stack.ask("GET", "/books/999", token=token)
    assert (reply.status, reply.json["code"], reply.json["origin"]) == (404, "not_found", "books")
    lines = (reader.folder / "service.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    (line,) = [line for line in logged if line["request_id"] == reply.json["request_id"]]
    assert (line["path"], line["status"], line["user_id"]) == ("/books/999", 404, "2")


def test_the_chapters_own_tests_pass(reader: Reader) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?client_as.*?)^```", CHAPTER.partition("## Tests")[2], re.MULTILINE | re.DOTALL
    )
    reader.write("books/tests.py", source)
    assert "OK" in reader.run("python manage.py test 2>&1").splitlines()


def test_a_bad_option_is_named_with_what_to_do(reader: Reader) -> None:
    bad = "from library.settings import *\nGATEHOUSE = {'SERVICE': 'books', 'GATWAY': 'http://127.0.0.1:8001'}\n"
    (reader.project / "bad.py").write_text(bad)
    output = reader.run("python manage.py check --settings bad 2>&1 || true")
    assert "chassis.E002" in output
    assert "HINT: Write GATEWAY." in output


def typed_after(heading: str) -> list[tuple[str, str]]:
    return [step for block in blocks(CHAPTER.partition(heading)[2], "console") for step in typed(block)]
