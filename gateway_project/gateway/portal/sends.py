"""What the forms of API pages ask for, under `/gateway/`: a request of another method, a filtered list, the data.

A form of HTML can send neither JSON nor PUT, PATCH or DELETE. `/gateway/send/api/orders` takes the form and makes the
request to `/api/orders` of it, as if the browser had sent that: every decision is the route's own. Where the service's
document has files, the request is `multipart/form-data`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from gateway import bodies
from gateway.policy import origins
from gateway.policy.rejections import BadRequest, ContentTooLarge, RequestRejected, RouteNotFound, Unauthenticated

from . import descriptions, forms, schemas
from .api_page import PageRequest
from .context import WebRequest, parse_request, target_of
from .drf import rejection
from .schemas import MULTIPART
from .sign_in import Redirect, check_origin, posted
from .uploads import Multipart, Part
from .views import SANDBOX, ProxyView

JSON: Final = "application/json"
METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class SentForm:
    """A form that was sent: for which method, what was typed, and the body that was made of it: JSON, or parts."""

    method: str
    values: dict[str, list[str]]
    media: str = ""
    body: str = ""
    parts: list[Part] = field(default_factory=list)

    @property
    def is_raw(self) -> bool:
        """Whether the body was written as JSON."""
        return "json" in self.values

    def environ(self) -> dict[str, Any]:
        """Return the request of it, as WSGI has it."""
        found: dict[str, Any] = {"REQUEST_METHOD": self.method}
        if tag := next(iter(self.values.get("if-match", [])), ""):
            found["HTTP_IF_MATCH"] = tag
        if self.media == MULTIPART:
            content = Multipart(self.parts)
            length = content.length
            return found | {"CONTENT_TYPE": content.content_type, "CONTENT_LENGTH": str(length), "wsgi.input": content}
        encoded = (self.body or urlencode([part[:2] for part in self.parts])).encode()
        length = len(encoded)
        return found | {"CONTENT_TYPE": self.media, "CONTENT_LENGTH": str(length), "wsgi.input": BytesIO(encoded)}


View = Callable[..., HttpResponseBase]


def _as_problem(view: View) -> View:
    def respond(request: WebRequest, path: str) -> HttpResponseBase:
        try:
            return view(request)
        except RequestRejected as exc:
            return rejection(request, exc)

    return respond


@_as_problem
def send(request: WebRequest) -> HttpResponseBase:
    """Make the request that the form describes."""
    check_origin(request)
    path, query = _target(request, "/gateway/send")
    values = _posted(request, path)
    method = next(iter(values.get("method", [])), "")
    if method not in METHODS:
        raise BadRequest(f"Expected the form's method to be one of {', '.join(sorted(METHODS))}.")
    sent = _sent(request, method, path, values)
    return _forward(request, path, query, sent, sent.environ())


@_as_problem
def data(request: WebRequest) -> HttpResponseBase:
    """Return what a program gets, whole: the response to GET, which runs no script."""
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


def _posted(request: WebRequest, path: str) -> dict[str, list[str]]:
    """Return the form's values. It may be as large as what one of the path's routes takes from the viewer."""
    asked = PageRequest(request.gateway, path, "", request.gateway.signed_in(), {})
    bounds = [match.route.max_body for method in METHODS if (match := asked.match(method))]
    # The form has a little more than the body that is made of it.
    most = settings.MAX_BODY + min(max(bounds, default=0), bodies.MAX_UPLOAD - settings.MAX_BODY)
    try:
        values = posted(request, most)
    except ContentTooLarge as exc:
        if asked.identity is None and not bounds:
            raise Unauthenticated from exc
        raise
    return {name: [str(value) for value in each] for name, each in values.lists()}


def _sent(request: WebRequest, method: str, path: str, values: dict[str, list[str]]) -> SentForm:
    if "json" in values:
        body = values["json"][0].replace("\r\n", "\n")
        return SentForm(method, values, JSON if body.strip() else "", body)
    runtime = request.gateway.runtime
    try:
        route = runtime.gate.route(method, path).route
    except RequestRejected:
        return SentForm(method, values)
    document = descriptions.document(runtime.documents)
    taken = schemas.request_body(descriptions.operations(document, route).get(method, {}), document)
    if taken is None:
        return SentForm(method, values)
    fields = forms.fields_of(taken.schema, document)
    is_partial = method == "PATCH"
    if taken.is_json:
        body = json.dumps(forms.body_of(fields, values, is_partial=is_partial), ensure_ascii=False)
        return SentForm(method, values, JSON, body)
    parts = [Part(*each) for each in forms.parts_of(fields, values, is_partial=is_partial)]
    for pointer, name in forms.file_names(fields).items():
        chosen = request.FILES.getlist(pointer)
        values[f"file:{pointer}"] = [str(file.name) for file in chosen]
        parts += [Part(name, str(file.name), file) for file in chosen]
    return SentForm(method, values, taken.media, parts=parts)


def _forward(
    request: WebRequest, path: str, query: str, sent: SentForm | None, environ: dict[str, Any]
) -> HttpResponseBase:
    """Respond to the path as the proxy view does."""
    meta = {name: value for name, value in request.META.items() if name != "HTTP_TRANSFER_ENCODING"}
    target = f"{path}?{query}" if query else path
    meta |= {"RAW_URI": target, "QUERY_STRING": query, "PATH_INFO": unquote_to_bytes(path).decode("latin-1")}
    onward = cast("Any", WSGIRequest({"CONTENT_LENGTH": "0", **meta, "SCRIPT_NAME": "", **environ}))
    onward.sent = sent
    onward.log_fields = getattr(request, "log_fields", {})
    onward.gateway = parse_request(onward, request.gateway.runtime)
    response = ProxyView.as_view()(onward)
    request.route_label = getattr(onward, "route_label", "none")  # type: ignore[attr-defined]
    if user_id := onward.META.get("HTTP_REQUEST_USER_ID"):
        request.META["HTTP_REQUEST_USER_ID"] = user_id
    return response
