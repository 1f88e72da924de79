"""A page's request as a command: for curl, HTTPie and Python. No I/O."""

import json
import shlex
from typing import NamedTuple


class Call(NamedTuple):
    """A request to be repeated. `body` is the JSON text of a request that has one."""

    method: str
    url: str
    needs_token: bool
    body: str | None


def commands(call: Call) -> list[tuple[str, str]]:
    """Return the commands with the names of their programs. A token comes from the variable TOKEN."""
    return [("curl", _curl(call)), ("HTTPie", _httpie(call)), ("Python", _python(call))]


def _curl(call: Call) -> str:
    parts = ["curl"]
    if call.method != "GET":
        parts.append(f"-X {call.method}")
    if call.needs_token:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if call.body is not None:
        parts.append(f"-H 'Content-Type: application/json' -d {shlex.quote(call.body)}")
    return " ".join([*parts, shlex.quote(call.url)])


def _httpie(call: Call) -> str:
    parts = ["http"]
    if call.needs_token:
        parts.append('-A bearer -a "$TOKEN"')
    if call.body is not None:
        parts.append(f"--raw {shlex.quote(call.body)}")
    return " ".join([*parts, call.method, shlex.quote(call.url)])


def _python(call: Call) -> str:
    arguments = [repr(call.url)]
    headers = {}
    if call.needs_token:
        arguments.append("headers=headers")
        headers["Authorization"] = "f\"Bearer {os.environ['TOKEN']}\""
    if call.body is not None:
        try:
            arguments.append(f"json={json.loads(call.body)!r}")
        except (ValueError, RecursionError):
            arguments.append(f"data={call.body.encode()!r}")
            headers["Content-Type"] = "'application/json'"
            arguments += [] if call.needs_token else ["headers=headers"]
    lines = ["import os", ""] if call.needs_token else []
    lines += ["import requests", ""]
    if headers:
        lines.append(f"headers = {{{', '.join(f'{name!r}: {value}' for name, value in headers.items())}}}")
    lines.append(f"response = requests.{call.method.lower()}({', '.join(arguments)})")
    return "\n".join([*lines, "print(response.status_code, response.text)"])
