"""The service's OpenAPI document: problems as responses, passports as security, the rules of strict input."""

import json
import re
from functools import cache
from threading import Lock
from typing import Any, ClassVar, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from rest_framework.serializers import EmailField

from . import SPECTACULAR_SETTINGS, conf
from .problem_responses import PROBLEM_SCHEMA, problem, problem_responses
from .statuses import reason_phrase

# Django accepts no others. It checks more than a pattern can.
_EMAIL = r"^.+@(.+\..+|localhost|\[.+\])$"


class PassportScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it registers its subclasses
    """What an operation behind `PassportAuthentication` asks for. The gateway's own document replaces it."""

    target_class = "chassis.passports.PassportAuthentication"
    name = "passport"
    scheme: ClassVar[dict[str, str]] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The gateway's passport for this service, with Request-User-Id equal to its `sub`.",
    }

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ANN401  # drf-spectacular's
        return self.scheme


class StrictSerializerScheme(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # it registers its subclasses
    """A `StrictSerializer` rejects unknown fields, so its schema does too."""

    target_class = "chassis.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:  # noqa: ANN401  # drf-spectacular's
        schema: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # noqa: SLF001
        return schema | {"additionalProperties": False} if direction == "request" else schema


class TextScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # it registers its subclasses
    """The `pattern` of a field's validators, and that of an email address: a format alone is only a hint."""

    target_class = "rest_framework.serializers.CharField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:  # noqa: ANN401  # drf-spectacular's
        schema: dict[str, Any] = auto_schema._map_serializer_field(  # noqa: SLF001
            self.target, direction, bypass_extensions=True
        )
        patterns = [each.pattern for each in self.target.validators if isinstance(getattr(each, "pattern", None), str)]
        if isinstance(self.target, EmailField):
            patterns.append(_EMAIL)
        if patterns and "pattern" in schema:
            return schema | {"allOf": [{"pattern": each} for each in patterns]}
        return schema | {"pattern": patterns[-1]} if patterns else schema


def describe_problems(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Complete the responses of every operation: drf-spectacular's post-processing hook.

    The problems that follow from what an operation takes are added. Those that a view declares keep their description.
    """
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    components.setdefault("responses", {}).update(problem_responses())
    for schema in components["schemas"].values():
        for name, each in schema.get("properties", {}).items():
            schema["properties"][name] = _with_blank(each)
    for path in result["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _with_blank(parameter["schema"])
            responses = operation["responses"]
            for status, response in responses.items():
                if status[0] in "45":
                    responses[status] = problem(int(status), response.get("description", ""))
                elif not response.get("description"):
                    response["description"] = f"{reason_phrase(int(status))}."
            for status in _statuses(operation):
                responses.setdefault(str(status), problem(status))
            operation["responses"] = dict(sorted(responses.items())) | {"default": problem(0)}
    return result


def _with_blank(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a text that may be empty without drf-spectacular's `oneOf`, which `""` can match twice."""
    alternatives = schema.get("oneOf", [])
    if len(alternatives) != 2 or alternatives[1] != {"type": "string", "maxLength": 0}:
        return schema
    others = {name: each for name, each in schema.items() if name != "oneOf"}
    text = alternatives[0]
    takes_empty = "format" not in text and "minLength" not in text and re.search(text.get("pattern", ""), "")
    return others | (text if takes_empty else {"anyOf": alternatives})


def _statuses(operation: dict[str, Any]) -> set[int]:
    """Return the statuses of the problems that follow from what the operation takes."""
    parameters = {(each["in"], each["name"]) for each in operation.get("parameters", [])}
    found = set()
    if parameters or "requestBody" in operation:
        found.add(400)
    if "requestBody" in operation:
        found |= {413, 415}
    if any(operation.get("security", [])):
        found |= {401, 403}
    if any(place == "path" for place, _ in parameters):
        found.add(404)
    if ("header", "If-Match") in parameters:
        found.add(412)
    return found


def openapi(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_document(), content_type="application/json")


@cache
def _document() -> bytes:
    """Return the document, which is the same for as long as the process lives."""
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.settings import patched_settings

    own = getattr(settings, "SPECTACULAR_SETTINGS", {})
    defaults = {"TITLE": conf.options().service, "VERSION": "1"} | SPECTACULAR_SETTINGS
    # SERVE_… are of its own views, and not taken here.
    patches = {name: value for name, value in (defaults | own).items() if not name.startswith("SERVE_")}
    with _LOCK, patched_settings(patches):  # they are drf-spectacular's for the whole process
        generator = cast("Any", SchemaGenerator)()
        return json.dumps(generator.get_schema(request=None, public=True), ensure_ascii=False).encode()


_LOCK = Lock()
