"""A page's request as commands: what they send is what the page's request was."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from tests.gateway.service import Service

from gateway.portal.commands import Call, commands

BODY = '{"title": "it\'s", "ok": true, "none": null}'


def call_of(service: Service, method: str, body: str | None, *, needs_token: bool = True) -> dict[str, str]:
    return dict(commands(Call(method, f"{service.url}/things?a=1&b=%27", needs_token, body)))


def run(found: list[tuple[str, str]], program: str, folder: Path) -> None:
    """Run the program's command in the folder."""
    text = dict(found)[program]
    command = ["sh", "-c", text] if program == "curl" else [sys.executable, "-c", text]
    environ = os.environ | {"TOKEN": "abc", "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["curl", "Python"])
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", BODY), ("PATCH", "{no json"), ("DELETE", None)])
def test_a_command_sends_the_request(serve, tmp_path: Path, program: str, method: str, body: str | None) -> None:
    service = serve()
    run(list(call_of(service, method, body).items()), program, tmp_path)
    (seen,) = service.seen
    assert (seen.method, seen.target) == (method, "/things?a=1&b=%27")
    assert seen.header("authorization") == "Bearer abc"
    if body is None:
        assert seen.body == b""
    else:
        assert seen.header("content-type") == "application/json"
        assert seen.body == body.encode() or json.loads(seen.body) == json.loads(body)


@pytest.mark.parametrize("program", ["curl", "Python"])
def test_a_command_sends_the_form_with_its_file(serve, tmp_path: Path, program: str) -> None:
    service = serve()
    (tmp_path / "a b.png").write_bytes(b"PNG")
    parts = [("title", "@it's", False), ("cover", "a b.png", True)]
    run(commands(Call("POST", f"{service.url}/things", needs_token=True, body=None, parts=parts)), program, tmp_path)
    (seen,) = service.seen
    assert str(seen.header("content-type")).startswith("multipart/form-data; boundary=")
    assert b'name="title"\r\n\r\n@it\'s\r\n' in seen.body
    assert b'name="cover"; filename="a b.png"' in seen.body
    assert b"\r\n\r\nPNG\r\n" in seen.body


@pytest.mark.parametrize("program", ["curl", "Python"])
def test_a_command_sends_a_form_without_files(serve, tmp_path: Path, program: str) -> None:
    service = serve()
    call = Call("POST", f"{service.url}/things", False, None, [("title", "a b&c", False)], is_urlencoded=True)
    run(commands(call), program, tmp_path)
    (seen,) = service.seen
    assert seen.header("content-type") == "application/x-www-form-urlencoded"
    assert parse_qsl(seen.body.decode()) == [("title", "a b&c")]


def test_httpie_has_the_same_request(serve) -> None:
    url = f"'{(service := serve()).url}/things?a=1&b=%27'"
    assert call_of(service, "GET", None)["HTTPie"] == f'http -A bearer -a "$TOKEN" GET {url}'
    assert call_of(service, "POST", '{"a":1}', needs_token=False)["HTTPie"] == f"""http --raw '{{"a":1}}' POST {url}"""
    parts = [("title", "it's", False), ("cover", "a.png", True)]
    form = Call("POST", "http://a/", needs_token=False, body=None, parts=parts)
    assert dict(commands(form))["HTTPie"] == """http --multipart POST http://a/ 'title=it'"'"'s' cover@a.png"""
