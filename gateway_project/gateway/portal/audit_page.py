"""The audit trail for admins: a page with filters, and an export as JSON lines."""

import json
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from gateway.identity import audit
from gateway.identity.models import AuditEntry

from .admin_pages import AdminPage
from .context import WebRequest
from .devices import device

PATH = "/gateway/audit/"
SHOWN = 100
# Of the number of an entry.
MAX_DIGITS = 19
FILTERS = ("event", "user", "address", "detail")


class AuditPage(AdminPage):
    """Shows the newest entries that the query's filters match, or with `format=jsonl` exports them."""

    template = "gateway/audit.html"

    def prefers_page(self, request: WebRequest) -> bool:
        return request.GET.get("format") != "jsonl" and super().prefers_page(request)

    def respond(self, request: WebRequest) -> HttpResponseBase:
        return super().respond(request) if self.prefers_page(request) else export(request)

    def context(self, request: WebRequest) -> dict[str, Any]:
        found = [*selected(request)[: SHOWN + 1]]
        entries = [
            (entry, device(entry.detail) if entry.event == audit.Event.SIGNED_IN else entry.detail)
            for entry in found[:SHOWN]
        ]
        given = {name: value for name, value in filters(request).items() if value}
        shown = {
            "events": [*audit.Event],
            "filters": filters(request),
            "entries": entries,
            "download": f"{PATH}?{urlencode(given | {'format': 'jsonl'})}",
        }
        if len(found) > SHOWN:
            shown["older"] = f"{PATH}?{urlencode(given | {'before': found[SHOWN - 1].pk})}"
        return shown


def filters(request: HttpRequest) -> dict[str, str]:
    # As the entries have them: PostgreSQL takes no NUL.
    return {name: audit.printable(request.GET.get(name, "").strip()) for name in FILTERS}


def selected(request: HttpRequest) -> QuerySet[AuditEntry]:
    """Return the entries that the query asks for."""
    before = request.GET.get("before", "")
    # Those that the master left a moment ago.
    audit.record_config_events()
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
