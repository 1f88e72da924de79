"""`manage.py runserver` with the raw path of the request, which `policy` needs."""

from typing import Any

from django.contrib.staticfiles.management.commands.runserver import Command as StaticFilesCommand
from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer


class RawPathHandler(WSGIRequestHandler):
    """Adds `RAW_URI`, as gunicorn does: the request target, not decoded."""

    def get_environ(self) -> dict[str, Any]:
        return super().get_environ() | {"RAW_URI": self.path}


class RawPathServer(WSGIServer):
    """Django's server with that handler."""

    def __init__(self, address: Any, handler: Any, **kwargs: Any) -> None:  # noqa: ANN401  # socketserver's signature
        super().__init__(address, RawPathHandler, **kwargs)


class Command(StaticFilesCommand):
    server_cls = RawPathServer
