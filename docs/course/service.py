"""A small Django service in one file, for the course: `python service.py books 9001`.

It keeps its items in memory. The environment changes how it behaves:

    CHASSIS=1   adds the four lines of docs/service.md: the service accepts only requests of the gateway
    FAIL=1      responds to each request for items with 503
    SLOW=2      waits so many seconds before it responds
"""

import itertools
import os
import sys
import time
from typing import Any

import django
from django.conf import settings

NAME, PORT = sys.argv[1:]
HAS_CHASSIS = os.environ.get("CHASSIS") == "1"

settings.configure(
    SECRET_KEY="for the course only",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="__main__",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    MIDDLEWARE=[],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
)

if HAS_CHASSIS:
    import chassis

    settings.INSTALLED_APPS += ["chassis"]
    settings.MIDDLEWARE = [*chassis.MIDDLEWARE, *settings.MIDDLEWARE]
    settings.REST_FRAMEWORK = chassis.REST_FRAMEWORK
    settings.GATEHOUSE = {"SERVICE": NAME, "GATEWAY": os.environ.get("GATEWAY", "http://127.0.0.1:8001")}

django.setup()

from django.core.management import execute_from_command_line
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

ITEMS: dict[int, dict[str, Any]] = {}
NUMBERS = itertools.count(1)


class Unavailable(APIException):
    status_code = 503


class ReadsOrHasPassport(BasePermission):
    """Anyone reads. With the chassis, only a user whom the gateway names writes."""

    def has_permission(self, request: Request, view: object) -> bool:
        return request.method in SAFE_METHODS or not HAS_CHASSIS or bool(request.user and request.user.is_authenticated)


@api_view(["GET", "POST"])
@permission_classes([ReadsOrHasPassport])
def items(request: Request) -> Response:
    time.sleep(float(os.environ.get("SLOW", "0")))
    if os.environ.get("FAIL") == "1":
        raise Unavailable
    if request.method == "GET":
        return Response(list(ITEMS.values()))
    number = next(NUMBERS)
    ITEMS[number] = {"id": number, "title": request.data["title"], "by": getattr(request.user, "username", None)}
    return Response(ITEMS[number], status=201)


@api_view(["DELETE"])
@permission_classes([ReadsOrHasPassport])
def item(_request: Request, number: int) -> Response:
    ITEMS.pop(number, None)
    return Response(status=204)


urlpatterns = [path(NAME, items), path(f"{NAME}/<int:number>", item)]

if __name__ == "__main__":
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", PORT])
