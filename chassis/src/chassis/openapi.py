"""The service's OpenAPI document: problems as responses, passports as security."""

import json
from functools import cache
from threading import Lock
from typing import Any, ClassVar, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension

from . import SPECTACULAR_SETTINGS, conf
from .problems import MEDIA_TYPE

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable name of the problem, for programs."},
        "detail": {"type": "string", "description": "The problem in prose, for people; it may change."},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "origin": {"type": "string", "description": "The service that the problem comes from."},
        "errors": {
            "type": "object",
            "description": "The messages for each field that failed validation.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id", "origin"],
}


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


def describe_problems(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Add the problem to every operation's responses: drf-spectacular's post-processing hook."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components.setdefault("responses", {})["Problem"] = {"description": "A problem (RFC 9457).", "content": content}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    return result


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
