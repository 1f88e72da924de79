"""A WSGI application whose requests are UTF-8, whatever `charset` their Content-Type names.

Django reads the query in that charset before any middleware runs, and raises for `charset=rot13`.
It also raises for a Content-Type with a parameter in an unknown encoding (RFC 8187); here such a
Content-Type counts as missing. Use it in wsgi.py: `application = wsgi_application("shop.settings")`.
"""

import os
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters


class UTF8Request(WSGIRequest):
    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:
            self.content_type, self.content_params = "", {}


class UTF8Handler(WSGIHandler):
    request_class = UTF8Request


def wsgi_application(settings: str) -> UTF8Handler:
    """Set Django up with these settings, unless the environment names others, and return the application."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    django.setup(set_prefix=False)
    return UTF8Handler()
