"""Django's WSGI handler, for which a request is UTF-8 whatever `charset` it says.

Django would read the query by that charset before any middleware runs: `charset=rot13` and a query make it raise. So
does a `Content-Type` with a parameter in a charset of nobody's (RFC 8187), which here counts as none.

This file is the same in each project.
"""

from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters


class UTF8Request(WSGIRequest):
    """A request whose body and query are UTF-8 (RFC 8259, section 8.1)."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:
            self.content_type, self.content_params = "", {}


class UTF8Handler(WSGIHandler):
    """The WSGI application of such requests."""

    request_class = UTF8Request
