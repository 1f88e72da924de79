"""DRF's browsable API, for what a service answered and for the gateway's own data."""

from typing import Any

from django.utils.safestring import mark_safe
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from gateway.policy.negotiation import prefers_page

from . import json_text
from .answers import Shown, forbid_storing

# Characters: JSON that is longer with a line a value is shown as it came.
LONGEST = 2 * 1024 * 1024
# Not shown: what a page says of itself, and what a script of the page could not read otherwise.
HIDDEN = {"cache-control", "content-type", "set-cookie"}


class BrowsablePage(BrowsableAPIRenderer):
    """A page of the browsable API. It shows who is signed in, so it must not be stored."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        forbid_storing(renderer_context["response"])
        return super().render(data, accepted_media_type, renderer_context)

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        here = [(request.path, request.path)] if request.path != "/" else []
        return [("Gatehouse", "/"), *here]

    def get_content(self, renderer: Any, data: Any, accepted_media_type: Any, renderer_context: Any) -> str:  # noqa: ANN401  # DRF's signature
        """Return the text as HTML: a service's response, or the gateway's data as JSON."""
        text = (
            json_text.indented(data, LONGEST)
            if isinstance(data, str)
            else super().get_content(renderer, data, accepted_media_type, renderer_context)
        )
        return mark_safe(json_text.linked(text))  # noqa: S308  # it is escaped there

    def get_context(self, data: Any, accepted_media_type: Any, renderer_context: Any) -> dict[str, Any]:  # noqa: ANN401  # DRF's signature
        """Return the template's variables; headers are those of the same response to a program."""
        response = renderer_context["response"]
        said = response.said if isinstance(response, Shown) else list(response.items())
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        context["response_headers"] = [header for header in said if header[0].lower() not in HIDDEN]
        # The page of a HEAD is that of a GET.
        method = renderer_context["request"].method
        context["method"] = "GET" if method == "HEAD" else method
        return context


class PageOrJSON(BaseContentNegotiation):
    """A browser gets the browsable API, every other client JSON, whatever it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ANN401  # DRF's signature
        """Return no parser: the service reads the body."""
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> tuple[BaseRenderer, str]:  # noqa: ANN401
        page = prefers_page(request.headers.get("Accept", ""))
        renderer: BaseRenderer = BrowsablePage() if page else JSONRenderer()
        return renderer, str(renderer.media_type)
