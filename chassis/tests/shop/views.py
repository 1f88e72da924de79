from typing import Any, cast

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_protect
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chassis.etags import check_preconditions, is_unmodified
from chassis.pagination import PARAMETERS
from chassis.permissions import HasRole
from chassis.queries import query_parameters
from chassis.serializers import StrictSerializer
from chassis.validators import printable, printable_lines

from .models import Book, Sale


class BookSerializer(serializers.ModelSerializer[Book]):
    class Meta:
        model = Book
        fields = ("id", "title")


class BookViewSet(viewsets.ModelViewSet[Book]):
    queryset = Book.objects.all()
    serializer_class = BookSerializer

    def get_permissions(self) -> Any:
        return [HasRole("admin")()] if self.action == "destroy" else super().get_permissions()


class SaleIn(StrictSerializer):
    item = serializers.CharField(max_length=200, validators=[printable])
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    address = serializers.CharField(max_length=500, validators=[printable_lines])


class SalesView(APIView):
    permission_classes = (HasRole("admin", "default"),)

    def get(self, request: Request) -> Response:
        query_parameters(request, (*PARAMETERS, "item"))
        return Response([])

    @extend_schema(request=SaleIn, responses={201: SaleIn})
    def post(self, request: Request) -> Response:
        values = SaleIn().run_validation(request.data)
        sale = Sale.objects.create(owner=int(str(request.user.pk)), **values)
        return Response({"id": sale.pk} | values, status=201)


class VersionView(APIView):
    """One resource whose ETag is always the same."""

    etag = '"1"'

    def get(self, request: Request) -> Response:
        if is_unmodified(request, self.etag):
            return Response(status=304)
        return Response({}, headers={"ETag": self.etag})

    def put(self, request: Request) -> Response:
        check_preconditions(request, self.etag)
        return Response({}, headers={"ETag": self.etag})


class Owner(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.pk == 7


class EitherView(APIView):
    permission_classes = (HasRole("admin") | Owner,)

    def get(self, request: Request) -> Response:
        user: Any = request.user
        return Response({"id": user.id, "username": user.username, "role": user.role, "sid": user.sid})


def fail(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404


@csrf_protect
def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def time_left(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"time_left": cast("Any", request).time_left()})
