"""A page's request as a command: for curl, HTTPie and Python. No I/O."""

import json
import shlex
from collections.abc import Sequence
from typing import NamedTuple


class Call(NamedTuple):
    """A request to be repeated. `body` is the JSON text of a request that has one.

    Of a form, `parts` are the fields: name, text, and whether it is a file, whose name the text is.
    """

    method: str
    url: str
    needs_token: bool
    body: str | None
    parts: Sequence[tuple[str, str, bool]] = ()
    is_urlencoded: bool = False


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
    # In `-F` a text that begins with `@` or `<` would name a file.
    text_option = "--data-urlencode" if call.is_urlencoded else "--form-string"
    for name, text, is_file in call.parts:
        option, value = ("-F", f"{name}=@{text}") if is_file else (text_option, f"{name}={text}")
        parts.append(f"{option} {shlex.quote(value)}")
    return " ".join([*parts, shlex.quote(call.url)])


def _httpie(call: Call) -> str:
    parts = ["http"]
    if call.needs_token:
        parts.append('-A bearer -a "$TOKEN"')
    if call.body is not None:
        parts.append(f"--raw {shlex.quote(call.body)}")
    if call.parts:
        parts.append("--form" if call.is_urlencoded else "--multipart")
    fields = [shlex.quote(f"{name}{'@' if is_file else '='}{text}") for name, text, is_file in call.parts]
    return " ".join([*parts, call.method, shlex.quote(call.url), *fields])


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
    if call.parts:
        arguments.append(_python_parts(call))
    lines = ["import os", ""] if call.needs_token else []
    lines += ["import requests", ""]
    if headers:
        lines.append(f"headers = {{{', '.join(f'{name!r}: {value}' for name, value in headers.items())}}}")
    lines.append(f"response = requests.{call.method.lower()}({', '.join(arguments)})")
    return "\n".join([*lines, "print(response.status_code, response.text)"])


def _python_parts(call: Call) -> str:
    if call.is_urlencoded:
        return f"data={[(name, text) for name, text, _ in call.parts]!r}"
    values = [f"open({text!r}, 'rb')" if is_file else f"(None, {text!r})" for _, text, is_file in call.parts]
    pairs = [f"({part[0]!r}, {value})" for part, value in zip(call.parts, values, strict=True)]
    return f"files=[{', '.join(pairs)}]"
