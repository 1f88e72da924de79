"""A page's request as commands: what they send is what the page's request was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gateway.service import Service

from gateway.portal.commands import Call, commands

BODY = '{"title": "it\'s", "ok": true, "none": null}'


def call_of(service: Service, method: str, body: str | None, *, needs_token: bool = True) -> dict[str, str]:
    return dict(commands(Call(method, f"{service.url}/things?a=1&b=%27", needs_token, body)))


@pytest.mark.parametrize("program", ["curl", "Python"])
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", BODY), ("PATCH", "{no json"), ("DELETE", None)])
def test_a_command_sends_the_request(serve, tmp_path: Path, program: str, method: str, body: str | None) -> None:
    service = serve()
    text = call_of(service, method, body)[program]
    command = ["sh", "-c", text] if program == "curl" else [sys.executable, "-c", text]
    environ = os.environ | {"TOKEN": "abc", "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    (seen,) = service.seen
    assert (seen.method, seen.target) == (method, "/things?a=1&b=%27")
    assert seen.header("authorization") == "Bearer abc"
    if body is None:
        assert seen.body == b""
    else:
        assert seen.header("content-type") == "application/json"
        assert seen.body == body.encode() or json.loads(seen.body) == json.loads(body)


def test_httpie_has_the_same_request(serve) -> None:
    url = f"'{(service := serve()).url}/things?a=1&b=%27'"
    assert call_of(service, "GET", None)["HTTPie"] == f'http -A bearer -a "$TOKEN" GET {url}'
    assert call_of(service, "POST", '{"a":1}', needs_token=False)["HTTPie"] == f"""http --raw '{{"a":1}}' POST {url}"""
