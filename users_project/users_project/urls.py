"""What the users service serves. No trailing slashes but in the admin, which is Django's."""

from django.contrib import admin
from django.urls import path, register_converter
from django.views.generic import RedirectView

from chassis.converters import Id
from users.api import internal, views

register_converter(Id, "id")
users, me = views.UserViewSet.as_view, views.MeViewSet.as_view

urlpatterns = [
    path("api/users", users({"get": "list", "post": "create"})),
    path(
        "api/users/<id:user_id>",
        users({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("api/users/<id:user_id>/history", users({"get": "history"})),
    path("api/users/me", me({"get": "retrieve", "patch": "partial_update"})),
    path("api/users/me/password", me({"post": "change_password"})),
    path("internal/credentials", internal.CredentialsView.as_view()),
    path("internal/users/<id:user_id>", internal.AccountView.as_view()),
    path("internal/session-ends", internal.SessionEndsView.as_view()),
    # The gateway signs people in and out.
    path("admin/login/", RedirectView.as_view(url="/admin/")),
    path("admin/logout/", RedirectView.as_view(url="/logout/")),
    path("admin/password_change/", RedirectView.as_view(url="/sessions/")),
    path("admin/", admin.site.urls),
]
