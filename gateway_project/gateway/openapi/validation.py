"""Requests checked against the service's own OpenAPI document, before the service receives them.

`validate: enforce` rejects an invalid request, `report` counts and logs it. Until the document is there nothing is
rejected. A check is lenient where documents are often wrong: formats are hints, `oneOf` allows several matches, and a
field that only responses have is not required.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from gateway import metrics
from gateway.policy.headers import Headers, values
from gateway.policy.rejections import MalformedBody, RequestInvalid, RequestRejected
from gateway.policy.routes import Match

from .documents import Documents
from .reading import DATA, Document, Json

log = logging.getLogger(__name__)

# Seconds between two looks at the services' documents, and between two log lines of a route.
LOOK: Final = 15.0
QUIET: Final = 60.0
# Fields that an error names, and characters of a message.
MAX_FIELDS: Final = 10
MAX_MESSAGE: Final = 200
WHOLE: Final = "non_field_errors"
# Their parameters are described elsewhere in a document (OpenAPI, Parameter Object).
IGNORED: Final = frozenset({"accept", "authorization", "content-type"})
Errors = dict[str, list[str]]


class Check:
    """What an operation's document says of a request."""

    def __init__(self, operation: Document, components: Document) -> None:
        self.parameters: list[tuple[str, str, bool, bool, Any]] = []
        for each in operation.get("parameters", []):
            if each["in"] == "cookie" or "schema" not in each or each.get("style", "form") not in {"form", "simple"}:
                continue
            if each["in"] == "header" and each["name"].lower() in IGNORED:
                continue
            schema = each["schema"]
            is_list = isinstance(schema, dict) and _referred(schema, components).get("type") == "array"
            validator = _compiled(schema, components)
            self.parameters.append((each["in"], each["name"], each.get("required", False), is_list, validator))
        body = _referred(operation.get("requestBody", {}), components)
        self.needs_body = body.get("required", False)
        media = {name.lower(): each for name, each in body.get("content", {}).items() if "json" in name.lower()}
        self.media = {name: _compiled(each["schema"], components) for name, each in media.items() if "schema" in each}

    def find_errors(self, match: Match, query: str, headers: Headers, body: bytes | None) -> Errors:
        """Return the messages by field; raise `MalformedBody`. A body of None is too large to be checked."""
        found: Errors = {}
        queried = parse_qs(query, keep_blank_values=True) if query else {}
        for place, name, is_required, is_list, validator in self.parameters:
            texts = _texts(place, name, match, queried, headers)
            if not texts:
                if is_required:
                    found[name] = ["This parameter is required."]
                continue
            # A repeated parameter is the service's to judge, unless it is a list.
            value = [_typed(text) for text in texts] if is_list else None
            for each in [value] if is_list else texts:
                _collect(found, validator, each if is_list else _typed(str(each), validator), name)
        if body is not None:
            self.find_body_errors(found, headers, body)
        return dict(list(found.items())[:MAX_FIELDS])

    def find_body_errors(self, found: Errors, headers: Headers, body: bytes) -> None:
        if not body:
            if self.needs_body:
                found[WHOLE] = ["A body is required."]
            return
        kind = ",".join(values(headers, "content-type")).partition(";")[0].strip().lower()
        validator = self.media.get(kind)
        if validator is None:  # the service judges other types
            return
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as exc:
            from chassis.parsers import describe  # it imports DRF, which asks for Django's settings

            raise MalformedBody(describe(exc)) from exc
        _collect(found, validator, value, "")


def _texts(place: str, name: str, match: Match, query: Mapping[str, list[str]], headers: Headers) -> list[str]:
    if place == "path":
        return [unquote(match.params[name])] if name in match.params else []
    return query.get(name, []) if place == "query" else values(headers, name.lower())


def _typed(text: str, validator: Any = None) -> Json:  # noqa: ANN401  # of jsonschema-rs
    """Return the text, or the number or truth value that it is where the schema wants that."""
    if validator is not None and validator.is_valid(text):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def _collect(found: Errors, validator: Any, value: Json, at: str) -> None:  # noqa: ANN401  # of jsonschema-rs
    for error in validator.iter_errors(value):
        path = [*([at] if at else []), *map(str, error.instance_path)]
        kind = error.kind
        if kind.name == "required":
            fields, message = [[*path, kind.property]], "This field is required."
        elif kind.name == "additionalProperties":
            fields, message = [[*path, name] for name in kind.unexpected], "Unknown field."
        else:
            fields, message = [path], f"{error.message[:MAX_MESSAGE]}."
        for field in fields[:MAX_FIELDS]:
            found.setdefault(".".join(field) or WHOLE, []).append(message)
        if len(found) >= MAX_FIELDS:
            return


def _referred(value: Document, components: Document) -> Document:
    for _ in range(10):
        if "$ref" not in value:
            break
        _, _, kind, name = str(value["$ref"]).split("/")[:4]
        value = components.get(kind, {}).get(name, {})
    return value


def _compiled(schema: Json, components: Document) -> Any:  # noqa: ANN401  # of jsonschema-rs
    import jsonschema_rs  # 8 MiB, for a gateway with documents alone

    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [_lenient(schema)],
        "components": {"schemas": {name: _lenient(each) for name, each in components.get("schemas", {}).items()}},
    }
    # What a client sent, such as a password, is not repeated.
    return jsonschema_rs.validator_for(whole, mask="The value")


def _lenient(schema: Json) -> Json:
    """Return the schema as requests are checked by it."""
    if isinstance(schema, list):
        return [_lenient(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: each if name in DATA else _lenient(each) for name, each in schema.items()}
    if isinstance(found.get("oneOf"), list):
        found["allOf"] = [*found.get("allOf", []), {"anyOf": found.pop("oneOf")}]
    properties, required = found.get("properties"), found.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        read_only = {name for name, each in properties.items() if isinstance(each, dict) and each.get("readOnly")}
        found["required"] = [name for name in required if name not in read_only]
    return found


class Validation:
    """The checks of the routes with `validate`, by path and method; those of the merged document in force."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.routes = [route for route in documents.config.routes if route.validate != "skip"]
        self.checks: dict[tuple[str, str], Check] = {}
        self.made_of = b""
        self.looked = -LOOK
        self.logged: dict[str, float] = {}

    def check(self, match: Match, method: str, query: str, headers: Headers, body: bytes | None) -> None:
        """Raise `RequestInvalid` or `MalformedBody` for what the document does not allow, or report it."""
        self.refresh()
        route = match.route
        check = self.checks.get((route.path, "GET" if method == "HEAD" else method))
        if check is None:
            return
        invalid: RequestRejected
        try:
            errors = check.find_errors(match, query, headers, body)
            if not errors:
                return
            invalid, wrong = RequestInvalid(errors), list(errors)
        except MalformedBody as exc:
            invalid, wrong = exc, [WHOLE]
        metrics.observe(method, route.path, metrics.INVALID, 0.0)
        if route.validate == "enforce":
            raise invalid
        now = time.monotonic()
        if now - self.logged.get(route.path, -QUIET) > QUIET:
            self.logged[route.path] = now
            log.warning("%s %s got a request that its document does not allow: %s", method, route.path, wrong)

    def refresh(self) -> None:
        """Have the documents brought up to date, if they are due; wait for nothing."""
        if time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            asyncio.run_coroutine_threadsafe(self.look(), self.documents.upstreams.loop)

    def states(self) -> dict[str, str]:
        """Return `ok` for each service with the document that its requests are checked by, else why it is missing."""
        self.refresh()
        services, documents = self.documents.config.services, self.documents
        named = dict.fromkeys(route.service for route in self.routes if services[route.service].openapi)
        return {
            name: "ok" if name in documents.known else f"{reason(documents.faults.get(name))}; requests are not checked"
            for name in named
        }

    async def look(self) -> None:
        """Bring the documents up to date, and the checks that are made of them."""
        try:
            await self.documents.shared.get()
            if self.made_of is not self.documents.merged:
                self.made_of = self.documents.merged
                self.checks = await asyncio.to_thread(self.compile, self.made_of)
        except RequestRejected as exc:
            log.warning("The documents that requests are checked by are not available: %s", exc)

    def compile(self, merged: bytes) -> dict[tuple[str, str], Check]:
        """Return the checks; an operation with a schema that cannot be used is not checked."""
        document = json.loads(merged)
        found = {}
        for route in self.routes:
            for method, operation in document["paths"].get(route.path, {}).items():
                if "operationId" not in operation and "requestBody" not in operation:
                    continue
                try:
                    found[route.path, method.upper()] = Check(operation, document["components"])
                except ValueError as exc:
                    log.warning("%s %s is not validated: %s", method.upper(), route.path, exc)
        return found


def reason(fault: Exception | None) -> str:
    return "not read yet" if fault is None else f"cannot be read: {fault}"
