"""What the gateway answers itself; everything else is a route of gateway.yaml, or nothing."""

from typing import Any

from django.urls import path, re_path
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

from gateway import problems
from gateway.identity import api
from gateway.portal import documents, health, metrics, root, sign_in, views

session_patterns = [
    path("api/login", api.LoginView.as_view()),
    path("api/token/refresh", api.RefreshView.as_view()),
    path("api/logout", api.LogoutView.as_view()),
    path("api/sessions", api.SessionsView.as_view()),
    path("api/sessions/<slug:session_id>", api.SessionView.as_view()),
    path("api/users/<slug:user_id>/sessions", api.UserSessionsView.as_view()),
]
DOCUMENT: dict[str, Any] = {"url": "/openapi.json", "authentication_classes": [], "permission_classes": []}
urlpatterns = [
    *session_patterns,
    path(".well-known/jwks.json", api.JWKSView.as_view()),
    path("openapi.json", documents.openapi_json),
    path("docs", SpectacularSwaggerSplitView.as_view(**DOCUMENT)),
    path("redoc", SpectacularRedocView.as_view(**DOCUMENT)),
    path("login/", sign_in.LoginPage.as_view()),
    path("logout/", sign_in.LogoutPage.as_view()),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("", root.RootView.as_view()),
    re_path(r"", views.ProxyView.as_view()),
]
handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
