"""What the forms of API pages ask for, under `/gateway/`: a request of another method, a filtered list, the data.

A form of HTML can send neither JSON nor PUT, PATCH or DELETE. `/gateway/send/api/orders` takes the form and makes the
request to `/api/orders` of it, as if the browser had sent that: every decision is the route's own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from gateway import bodies
from gateway.policy import origins
from gateway.policy.rejections import BadRequest, RequestRejected, RouteNotFound

from . import descriptions, forms, schemas
from .context import WebRequest, parse_request, target_of
from .drf import rejection
from .sign_in import FORM, Redirect, check_origin
from .views import SANDBOX, ProxyView

METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class Sent:
    """A form that was sent: for which method, what was typed, and the body that was made of it."""

    method: str
    values: dict[str, list[str]]
    body: str
    has_body: bool

    @property
    def is_raw(self) -> bool:
        """Whether the body was written as JSON."""
        return "json" in self.values


View = Callable[..., HttpResponseBase]


def _as_problem(view: View) -> View:
    def answer(request: WebRequest, path: str) -> HttpResponseBase:
        try:
            return view(request)
        except RequestRejected as exc:
            return rejection(request, exc)

    return answer


@_as_problem
def send(request: WebRequest) -> HttpResponseBase:
    """Make the request that the form describes."""
    check_origin(request)
    path, query = _target(request, "/gateway/send")
    values = _form(request)
    method = next(iter(values.get("method", [])), "")
    if method not in METHODS:
        raise BadRequest(f"Expected the form's method to be one of {', '.join(sorted(METHODS))}.")
    sent = _sent(request, method, path, values)
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(sent.body.encode()))}
    environ["CONTENT_TYPE"] = "application/json" if sent.has_body else ""
    if tag := next(iter(values.get("if-match", [])), ""):
        environ["HTTP_IF_MATCH"] = tag
    return _forward(request, path, query, sent, environ)


@_as_problem
def data(request: WebRequest) -> HttpResponseBase:
    """Return what a program gets, whole: the answer to GET as it is, which runs no script."""
    path, query = _target(request, "/gateway/data")
    accept = {"HTTP_ACCEPT": "application/json"}
    response = _forward(request, path, query, None, accept)
    response.headers[SANDBOX[0]] = SANDBOX[1]
    return response


@_as_problem
def filtered(request: WebRequest) -> HttpResponse:
    """Redirect to the list, without the filters that were left empty."""
    path, query = _target(request, "/gateway/filter")
    pairs = [(name, value) for name, value in parse_qsl(query) if value]
    return Redirect(origins.own_path(f"{path}?{urlencode(pairs)}" if pairs else path))


def _target(request: WebRequest, prefix: str) -> tuple[str, str]:
    """Return path and query of the request that is meant, as they were sent."""
    path, _, query = target_of(request).partition("?")
    if not path.startswith(f"{prefix}/") or path.startswith(f"{prefix}//"):
        raise RouteNotFound("Expected the path of a route; nothing is routed here.")
    return path.removeprefix(prefix), query


def _form(request: WebRequest) -> dict[str, list[str]]:
    length = bodies.check_length(request.META, settings.MAX_BODY)
    if length is None or request.content_type != FORM:
        raise BadRequest(f"Expected a form: {FORM}, with a Content-Length.")
    request.encoding = "utf-8"
    return {name: [str(value) for value in values] for name, values in request.POST.lists()}


def _sent(request: WebRequest, method: str, path: str, values: dict[str, list[str]]) -> Sent:
    if "json" in values:
        body = values["json"][0].replace("\r\n", "\n")
        return Sent(method, values, body, has_body=bool(body.strip()))
    runtime = request.gateway.runtime
    try:
        route = runtime.gate.route(method, path).route
    except RequestRejected:
        return Sent(method, values, "", has_body=False)
    document = descriptions.document(runtime.documents)
    operation = descriptions.operations(document, route).get(method, {})
    schema, _ = schemas.body_schema(operation, document)
    if schema is None:
        return Sent(method, values, "", has_body=False)
    fields = forms.fields_of(schema, document)
    body = json.dumps(forms.body_of(fields, values, is_partial=method == "PATCH"), ensure_ascii=False)
    return Sent(method, values, body, has_body=True)


def _forward(
    request: WebRequest, path: str, query: str, sent: Sent | None, environ: dict[str, Any]
) -> HttpResponseBase:
    """Answer the request to the path as the proxy view does."""
    body = sent.body.encode() if sent else b""
    meta = {name: value for name, value in request.META.items() if name != "HTTP_TRANSFER_ENCODING"}
    target = f"{path}?{query}" if query else path
    meta |= {"RAW_URI": target, "QUERY_STRING": query, "wsgi.input": BytesIO(body)}
    meta |= {"PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "SCRIPT_NAME": ""}
    onward = cast("Any", WSGIRequest({"CONTENT_LENGTH": "0", **meta, **environ}))
    onward.sent = sent
    onward.log_fields = getattr(request, "log_fields", {})
    onward.gateway = parse_request(onward, request.gateway.runtime)
    response = ProxyView.as_view()(onward)
    request.route_label = getattr(onward, "route_label", "none")  # type: ignore[attr-defined]
    if user_id := onward.META.get("HTTP_REQUEST_USER_ID"):
        request.META["HTTP_REQUEST_USER_ID"] = user_id
    return response
