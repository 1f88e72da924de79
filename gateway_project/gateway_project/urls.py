"""What the gateway answers itself; everything else is a route of gateway.yaml, or nothing."""

from typing import Any

from django.urls import re_path
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

from chassis import problems
from gateway.portal import api, audit_page, probes, prometheus, root, sends, sessions_page, sign_in, views
from gateway.portal.dashboard import pages as dashboard
from gateway.portal.endpoints import endpoint

DOCUMENT: dict[str, Any] = {"url": "/openapi.json", "authentication_classes": [], "permission_classes": []}
urlpatterns = [
    endpoint("api/login", api.LoginView.as_view(), "POST"),
    endpoint("api/token/refresh", api.RefreshView.as_view(), "POST"),
    endpoint("api/logout", api.LogoutView.as_view(), "POST"),
    endpoint("api/sessions", api.SessionsView.as_view(), "GET"),
    endpoint("api/sessions/<slug:session_id>", api.SessionView.as_view(), "DELETE"),
    endpoint("api/users/<slug:user_id>/sessions", api.UserSessionsView.as_view(), "DELETE"),
    endpoint(".well-known/jwks.json", api.JWKSView.as_view(), "GET"),
    endpoint("openapi.json", probes.openapi_json, "GET"),
    endpoint("docs", SpectacularSwaggerSplitView.as_view(**DOCUMENT), "GET"),
    endpoint("redoc", SpectacularRedocView.as_view(**DOCUMENT), "GET"),
    endpoint("login/", sign_in.LoginPage.as_view(), "GET", "POST"),
    endpoint("logout/", sign_in.LogoutPage.as_view(), "GET", "POST"),
    endpoint("sessions/", sessions_page.SessionsPage.as_view(), "GET", "POST"),
    endpoint("gateway/", dashboard.DashboardPage.as_view(), "GET"),
    endpoint("gateway/requests/", dashboard.RequestPage.as_view(), "GET"),
    endpoint("gateway/explain/", dashboard.ExplainPage.as_view(), "GET"),
    endpoint("gateway/audit/", audit_page.AuditPage.as_view(), "GET"),
    endpoint("gateway/send/<path:path>", sends.send, "POST"),
    endpoint("gateway/data/<path:path>", sends.data, "GET"),
    endpoint("gateway/filter/<path:path>", sends.filtered, "GET"),
    endpoint("healthz", probes.healthz, "GET"),
    endpoint("livez", probes.healthz, "GET"),
    endpoint("readyz", probes.readyz, "GET"),
    endpoint("metrics", prometheus.metrics, "GET"),
    endpoint("", root.RootView.as_view(), "GET"),
    re_path(r"", views.ProxyView.as_view()),
]
handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
