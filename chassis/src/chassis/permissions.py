"""Permissions by role: `permission_classes = [HasRole("admin")]`."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:  # DRF's views import this module if REST_FRAMEWORK names it
    from rest_framework.views import APIView


def HasRole(*roles: str) -> type[BasePermission]:  # noqa: N802  # it makes a class, and reads like one
    """Return a permission for users with one of these roles. It combines like any: `HasRole("admin") | IsOwner`."""

    class RolePermission(BasePermission):
        def has_permission(self, request: Request, view: "APIView") -> bool:
            return getattr(request.user, "role", None) in roles

    return RolePermission
