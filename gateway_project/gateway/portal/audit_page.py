"""The audit trail for admins: a page with filters, and an export as JSON lines."""

import json
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views import View

from gateway.identity import audit
from gateway.identity.models import AuditEntry
from gateway.policy import access
from gateway.policy.rejections import RequestRejected, Unauthenticated

from .context import WebRequest
from .devices import device
from .drf import problem_of, rejection
from .sign_in import Redirect

PATH = "/gateway/audit/"
SHOWN = 100
# Of the number of an entry.
MAX_DIGITS = 19
FILTERS = ("event", "user", "address")


class AuditPage(View):
    """Shows the newest entries that the query's filters match."""

    def get(self, request: WebRequest) -> HttpResponseBase:
        """Return the page, or with `format=jsonl` the entries."""
        gateway = request.gateway
        wants_page = request.GET.get("format") != "jsonl" and gateway.headers.prefers_page
        if wants_page and gateway.signed_in() is None and gateway.runtime.config.login:
            return Redirect(f"/login/?{urlencode({'next': gateway.target})}")
        try:
            identity = gateway.identify()
            if identity is None:
                raise Unauthenticated
            access.check(("admin",), identity)
        except RequestRejected as exc:
            return self.page(request, exc) if wants_page else rejection(request, exc)
        return self.page(request) if wants_page else export(request)

    def page(self, request: WebRequest, rejected: RequestRejected | None = None) -> HttpResponse:
        shown: dict[str, Any] = {"events": [*audit.Event], "filters": filters(request)}
        status = 200
        if rejected:
            problem = problem_of(rejected, request.method)
            shown["problem"], status = problem.detail, problem.status_code
        else:
            found = [*selected(request)[: SHOWN + 1]]
            shown["entries"] = [
                (entry, device(entry.detail) if entry.event == audit.Event.SIGNED_IN else entry.detail)
                for entry in found[:SHOWN]
            ]
            given = {name: value for name, value in filters(request).items() if value}
            if len(found) > SHOWN:
                shown["older"] = f"{PATH}?{urlencode(given | {'before': found[SHOWN - 1].pk})}"
            shown["download"] = f"{PATH}?{urlencode(given | {'format': 'jsonl'})}"
        response = render(request, "gateway/audit.html", shown, status=status)
        response.headers["Cache-Control"] = "no-store"
        return response


def filters(request: HttpRequest) -> dict[str, str]:
    # As the entries have them: PostgreSQL takes no NUL.
    return {name: audit.printable(request.GET.get(name, "").strip()) for name in FILTERS}


def selected(request: HttpRequest) -> QuerySet[AuditEntry]:
    """Return the entries that the query asks for."""
    before = request.GET.get("before", "")
    position = int(before) if before.isdecimal() and len(before) < MAX_DIGITS else None
    return audit.entries(*filters(request).values(), before=position)


def export(request: WebRequest) -> StreamingHttpResponse:
    """Return the entries as JSON, one a line."""
    found = audit.exported(selected(request))
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in found)
    return StreamingHttpResponse(
        lines,
        content_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="audit.jsonl"', "Cache-Control": "no-store"},
    )
