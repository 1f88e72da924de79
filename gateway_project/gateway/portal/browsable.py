"""DRF's browsable API, for services' responses and for the gateway's own data."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.utils.safestring import mark_safe
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from chassis.statuses import reason_phrase
from gateway.policy.headers import Headers
from gateway.policy.negotiation import prefers_page

from . import api_page, json_text
from .context import WebRequest
from .upstream_responses import ResponsePage, forbid_storing

# Characters: JSON that is longer with a line a value is shown as it came.
MAX_INDENTED = 2 * 1024 * 1024
# Not shown: what a page says of itself, and what a script of the page could not read otherwise.
HIDDEN = {"cache-control", "content-type", "set-cookie"}


class BrowsablePage(BrowsableAPIRenderer):
    """A page of the browsable API. It shows who is signed in, so it must not be stored."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        forbid_storing(renderer_context["response"])
        return super().render(data, accepted_media_type, renderer_context)

    def get_context(self, data: Any, accepted_media_type: Any, renderer_context: Any) -> dict[str, Any]:  # noqa: ANN401  # DRF's signature
        """Return the template's variables; headers are those of the same response to a program."""
        response, view = renderer_context["response"], renderer_context["view"]
        http = renderer_context["request"]._request  # noqa: SLF001  # DRF's own name for what it wraps
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        is_shown = isinstance(response, ResponsePage)
        is_cut = is_shown and response.is_cut
        headers = response.upstream_headers if is_shown else list(response.items())
        status = response.upstream_status if is_shown else response.status_code
        match = getattr(view, "match", None)
        etag = next((value for name, value in headers if name.lower() == "etag"), "")
        context = api_page.context(http, match, text, is_cut=is_cut, etag=etag, is_rejected=(status or 0) >= 400)
        return context | {
            "request": renderer_context["request"],
            "route": match.route if match else None,
            "status": status,
            "phrase": _phrase(status),
            "location": _own_location(headers, http) if status == HTTPStatus.CREATED else "",
            "is_rejected": (status or 0) >= 400,
            # `linked` escapes it.
            "content": mark_safe(json_text.linked(json_text.indented(text, MAX_INDENTED, is_cut=is_cut))),  # noqa: S308
            "response_headers": [header for header in headers if header[0].lower() not in HIDDEN],
            # The page of a HEAD is that of a GET.
            "method": "GET" if http.method == "HEAD" else http.method,
        }


def _phrase(status: int | None) -> str:
    """Return the name of a status; a service may make one up."""
    try:
        return reason_phrase(status) if status else ""
    except ValueError:
        return ""


def _own_location(headers: Headers, http: WebRequest) -> str:
    """Return the path of what was created, if the response names one of the gateway's."""
    parts = urlsplit(next((value for name, value in headers if name.lower() == "location"), ""))
    scheme, host = http.gateway.origin()
    return (
        parts.path if parts.path.startswith("/") and parts.netloc in {"", host} and parts.scheme in {"", scheme} else ""
    )


class PageOrJSON(BaseContentNegotiation):
    """A browser gets the browsable API, every other client JSON, whatever it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ANN401  # DRF's signature
        """Return no parser: the service reads the body."""
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> tuple[BaseRenderer, str]:  # noqa: ANN401
        page = prefers_page(request.headers.get("Accept", ""))
        renderer: BaseRenderer = BrowsablePage() if page else JSONRenderer()
        return renderer, str(renderer.media_type)
