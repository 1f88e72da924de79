"""The orders API: validate, call, respond."""

from typing import Any, cast

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import set_response_etag
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chassis.etags import check_preconditions
from chassis.pagination import CursorPages, Position
from chassis.permissions import HasRole
from chassis.queries import filters_from
from chassis.serializers import StrictSerializer
from chassis.validators import printable, printable_lines

from . import schema, selectors, services
from .idempotency import respond_once
from .models import Order


@extend_schema_serializer(
    examples=[OpenApiExample("A book", {"item": "book", "quantity": 1, "address": "Main street 1"}, request_only=True)]
)
class OrderIn(StrictSerializer):
    item = serializers.CharField(max_length=200, validators=[printable])
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    address = serializers.CharField(max_length=500, validators=[printable_lines])


# One for all requests: a new serializer copies its fields, which is a tenth of what placing an order costs.
ORDER_IN = OrderIn()


class OrderOut(serializers.ModelSerializer[Order]):
    """An order in the OpenAPI document. The views render dicts of the same fields, at a fraction of the cost."""

    class Meta:
        model = Order
        fields = read_only_fields = selectors.FIELDS


class OrderFilter(serializers.Serializer[None]):
    status = serializers.ChoiceField(choices=Order.Status.choices, required=False)
    created_after = serializers.DateTimeField(required=False, help_text="Only orders placed later than this.")
    created_before = serializers.DateTimeField(required=False, help_text="Only orders placed earlier than this.")


class OrderPages(CursorPages):
    newest_by = ("created_at", "id")

    def fetch(self, queryset: dict[str, Any], start: Position | None, limit: int) -> list[dict[str, Any]]:
        return selectors.order_page(**queryset, start=start, limit=limit)


@extend_schema(tags=["orders"])
class OrderViewSet(GenericViewSet[Order]):
    """A user's own orders. The owner is the passport's user, never a field of the request."""

    permission_classes = (HasRole("admin", "default"),)
    pagination_class = OrderPages
    serializer_class = OrderOut

    @property
    def owner(self) -> int:
        return cast("int", self.request.user.pk)

    @extend_schema(
        operation_id="orders_list",
        parameters=[OrderFilter, *schema.CONDITIONAL],
        responses={200: OrderOut(many=True)} | schema.READ,
    )
    def list(self, request: Request) -> HttpResponseBase:
        """List your orders, newest first."""
        wanted: Any = {"owner": self.owner, **filters_from(request, OrderFilter)}  # for OrderPages, not a queryset
        return self.get_paginated_response(self.paginate_queryset(wanted))

    @extend_schema(
        operation_id="orders_create",
        request=OrderIn,
        parameters=schema.CREATE_HEADERS,
        responses={201: OrderOut} | schema.CREATE,
    )
    def create(self, request: Request) -> HttpResponseBase:
        """Place an order.

        With the `Idempotency-Key` of an earlier request, the response is that request's.
        """
        values, owner = ORDER_IN.run_validation(request.data), self.owner

        def place() -> HttpResponse:
            order = services.order_create(owner=owner, **values)
            return order_response(order, status=201, location=f"/api/orders/{order.pk}")

        key = request.headers.get("Idempotency-Key")
        return respond_once(owner=owner, header=key, values=values, work=place)

    @extend_schema(operation_id="orders_get", parameters=schema.CONDITIONAL, responses={200: OrderOut} | schema.READ)
    def retrieve(self, request: Request, order_id: int) -> HttpResponseBase:
        """Return the order."""
        return Response(selectors.order_get(owner=self.owner, order_id=order_id))

    @extend_schema(
        operation_id="orders_cancel",
        request=None,
        parameters=schema.CANCEL_HEADERS,
        responses={200: OrderOut} | schema.CANCEL,
    )
    def cancel(self, request: Request, order_id: int) -> HttpResponseBase:
        """Cancel the order.

        Cancelling it again changes nothing.
        """

        def check(order: Order) -> None:
            check_preconditions(request, order_response(order).headers["ETag"])

        return order_response(services.order_cancel(owner=self.owner, order_id=order_id, check=check))


def order_response(order: Order, *, status: int = 200, location: str | None = None) -> HttpResponse:
    """Return the order with its `ETag`, which is the hash of the JSON, as Django's middleware makes it for a GET."""
    headers = {"Location": location} if location else {}
    body = JSONRenderer().render({name: getattr(order, name) for name in selectors.FIELDS})
    response = HttpResponse(body, status=status, content_type="application/json", headers=headers)
    set_response_etag(response)
    return response
