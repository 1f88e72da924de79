"""What the pages for admins have in common: a visitor signs in first, another user is rejected."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views import View

from chassis import problems
from gateway.policy import access
from gateway.policy.rejections import RequestRejected, Unauthenticated

from .context import WebRequest
from .drf import problem_of, rejection
from .sign_in import Redirect


class AdminPage(View):
    """A page for admins, rendered from `template` with what `context` returns."""

    template = ""

    def get(self, request: WebRequest) -> HttpResponseBase:
        gateway = request.gateway
        is_page = self.prefers_page(request)
        if is_page and gateway.signed_in() is None and gateway.runtime.config.login:
            return Redirect(f"/login/?{urlencode({'next': gateway.target})}")
        try:
            identity = gateway.identify()
            if identity is None:
                raise Unauthenticated
            access.check(("admin",), identity)
        except RequestRejected as exc:
            if not is_page:
                return rejection(request, exc)
            problem = problem_of(exc, request.method)
            page = self.rendered(request, {"problem": problem.detail}, problem.status_code)
            return problems.with_code(page, exc.problem_code)
        return self.respond(request)

    def prefers_page(self, request: WebRequest) -> bool:
        return request.gateway.headers.prefers_page

    def respond(self, request: WebRequest) -> HttpResponseBase:
        return self.rendered(request, self.context(request))

    def context(self, request: WebRequest) -> dict[str, Any]:
        """Return what the template shows."""
        return {}

    def rendered(self, request: WebRequest, shown: dict[str, Any], status: int = 200) -> HttpResponse:
        response = render(request, self.template, shown, status=status)
        response.headers["Cache-Control"] = "no-store"
        return response
