"""The response to `/`: a home page for browsers, the addresses of lists and documents for programs."""

from django.http import HttpResponse
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from . import home
from .browsable import BrowsablePage, PageOrJSON
from .context import APIRequest


class RootView(APIView):
    """Gatehouse. Each link is an entrance; what is behind it may want you to sign in."""

    permission_classes = (AllowAny,)
    content_negotiation_class = PageOrJSON
    renderer_classes = (JSONRenderer, BrowsablePage)
    schema = None

    def get(self, request: APIRequest) -> HttpResponse:
        """Return the home page to a browser, else the addresses of the documents and of every list."""
        if request.gateway.headers.prefers_page:
            return home.page(request)
        paths = [
            route.path
            for route in request.gateway.runtime.config.routes
            if "GET" in route.methods and "{" not in route.path
        ]
        links = {"docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json"}
        for path in paths:
            name = path.strip("/").replace("/", "_")
            names = (name.removeprefix("api_"), name, path)
            links[next(each for each in names if each not in links or each == path)] = path
        scheme, host = request.gateway.origin()
        return Response({name: f"{scheme}://{host}{path}" for name, path in links.items()})
