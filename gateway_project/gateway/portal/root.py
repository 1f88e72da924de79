"""The way in: what there is, for whoever asks for `/`."""

from django.http import HttpResponse
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import configuration
from gateway.policy.negotiation import prefers_page

from . import clients, home
from .browsable import BrowsablePage, PageOrJSON


class RootView(APIView):
    """Gatehouse. Each link is an entrance; what is behind it may want you to sign in."""

    permission_classes = (AllowAny,)
    content_negotiation_class = PageOrJSON
    renderer_classes = (JSONRenderer, BrowsablePage)
    schema = None

    def get_view_name(self) -> str:
        """Return the page's heading."""
        return "Gatehouse"

    def get(self, request: Request) -> HttpResponse:
        """Return the home page to a browser; else the addresses of the documents and of every list of a route."""
        http = request._request  # noqa: SLF001  # DRF's own name for what it wraps
        if prefers_page(http.headers.get("Accept", "")):
            return home.page(http)
        paths = [
            route.path for route in configuration.current().routes if "GET" in route.methods and "{" not in route.path
        ]
        links = {"docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json"}
        for path in paths:
            name = path.strip("/").replace("/", "_")
            names = (name.removeprefix("api_"), name, path)
            links[next(each for each in names if each not in links or each == path)] = path
        scheme, host = clients.origin(http)
        return Response({name: f"{scheme}://{host}{path}" for name, path in links.items()})
