"""The chassis of a Django service behind Gatehouse. docs/service.md shows its use in four lines of settings.

    settings.py:  INSTALLED_APPS, MIDDLEWARE, REST_FRAMEWORK and GATEHOUSE
        conf          the options in GATEHOUSE
        checks        `manage.py check` names what is wrong with them
    a request:
        middleware    request id, access log, body limit, problems in place of HTML, /livez, /readyz, /healthz,
                      /openapi.json, `request.time_left()`
        passports     who is asking: `request.user`
        permissions   `HasRole("admin")`
        parsers, serializers, validators, queries, converters    strict input
        pagination    cursor pages
        etags, parameters    conditional requests, and their headers in the OpenAPI document
        problems, problem_responses    every error as `application/problem+json`, and in the OpenAPI document
    a process:
        logs, tracing, otlp, trace_context, health, openapi, databases, locks, wsgi
        database_settings, environment, command_line, gunicorn    for settings.py, manage.py and gunicorn.conf.py
    tests:
        testing       a client that acts as a user, without a gateway

This module holds settings only, so that a settings file can import it.
"""

from typing import Any

__version__ = "0.1.0"

MIDDLEWARE = [
    "chassis.middleware.RequestLogMiddleware",
    "chassis.middleware.LiveMiddleware",
    "chassis.middleware.TracingMiddleware",
    "chassis.middleware.ProblemMiddleware",
    "chassis.middleware.BodyLimitMiddleware",
    "chassis.middleware.PublicPathMiddleware",
    "chassis.middleware.TimeLeftMiddleware",
    "chassis.middleware.EndpointMiddleware",
]


def templates(*context_processors: str) -> list[dict[str, Any]]:
    """Return `TEMPLATES`: those of the apps, with the request and these context processors."""
    processors = ["django.template.context_processors.request", *context_processors]
    backend = "django.template.backends.django.DjangoTemplates"
    return [{"BACKEND": backend, "APP_DIRS": True, "OPTIONS": {"context_processors": processors}}]


REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["chassis.passports.PassportAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["chassis.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "chassis.problems.ProblemNegotiation",
    "DEFAULT_PAGINATION_CLASS": "chassis.pagination.CursorPages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chassis.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "integer", "minimum": 1}},
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "chassis.openapi.describe_problems"],
}
