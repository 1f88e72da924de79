"""The orders API: validate, call, respond."""

import re
from datetime import datetime
from functools import partial
from typing import Any, cast

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from chassis.etags import check_preconditions
from chassis.pagination import PARAMETERS
from chassis.permissions import HasRole
from chassis.queries import query_parameters
from chassis.serializers import StrictSerializer
from chassis.validators import printable, printable_lines

from . import idempotency, schema, selectors, services
from .etags import conditional, etag_of, tagged
from .idempotency import Answer
from .models import Order
from .pages import OrderPages
from .selectors import OrderRow


@extend_schema_serializer(
    examples=[OpenApiExample("A book", {"item": "book", "quantity": 1, "address": "Main street 1"}, request_only=True)]
)
class OrderIn(StrictSerializer):
    """What creates an order."""

    default_error_messages = {"null": "Expected an object."}

    item = serializers.CharField(max_length=200, validators=[printable])
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    address = serializers.CharField(max_length=500, validators=[printable_lines])


# For all requests: it knows nothing of any, and a new one would copy its fields.
ORDER_IN = OrderIn()


class Moment(serializers.DateTimeField):
    """A time as RFC 3339 has it, or a date, of which the first moment in UTC is meant.

    DRF's takes other forms too, without an offset and in any script's digits, and cuts what is finer than microseconds,
    so that an order made before the time would not be found.
    """

    default_error_messages = {
        "invalid": "Expected a time as 2026-01-31T12:00:00Z, to the microsecond at most, or a date (RFC 3339). "
        "In a query, a + is written %2B."
    }
    form = re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-5][0-9]))?"
    )

    def to_internal_value(self, value: datetime | str) -> datetime:
        """Return the time; raise `ValidationError`."""
        text = str(value)
        if not self.form.fullmatch(text):
            self.fail("invalid")
        return super().to_internal_value(text.upper())


class OrderFilter(serializers.Serializer[Any]):
    """What a list may be narrowed by."""

    status = serializers.ChoiceField(choices=Order.Status.choices, required=False)
    created_after = Moment(required=False, help_text="Only orders made later than this.")
    created_before = Moment(required=False, help_text="Only orders made earlier than this.")


NAMES = tuple(OrderFilter().fields)
FILTERS = frozenset(NAMES)
LISTED_BY = (*PARAMETERS, *NAMES)


class OrderOut(serializers.ModelSerializer[Order]):
    """An order as answered."""

    class Meta:
        model = Order
        fields = ("id", "item", "quantity", "address", "status", "created_by", "created_at", "updated_at")
        read_only_fields = fields

    def to_representation(self, instance: Order) -> dict[str, Any]:
        """Return the order's fields."""
        return represented(instance)


def represented(order: Order | OrderRow) -> dict[str, Any]:
    """Return the order as JSON has it. DRF's own way asks each field for each value, at ten times the cost."""
    return {
        "id": order.id,
        "item": order.item,
        "quantity": order.quantity,
        "address": order.address,
        "status": order.status,
        "created_by": order.created_by,
        "created_at": moment(order.created_at),
        "updated_at": moment(order.updated_at),
    }


def moment(value: datetime) -> str:
    """Return the time, which is UTC's, as RFC 3339 has it."""
    return f"{value.replace(tzinfo=None).isoformat()}Z"


class OwnersView(APIView):
    """A view of what belongs to the one who asks."""

    permission_classes = (HasRole("admin", "default"),)

    def owner(self) -> int:
        """Return the id of the user who asks."""
        return cast("int", self.request.user.pk)


@extend_schema(tags=["orders"])
class OrdersView(OwnersView):
    """One's own orders."""

    pagination_class = OrderPages

    @extend_schema(
        operation_id="orders_list",
        parameters=[OrderFilter, *schema.LIST["parameters"]],
        responses={200: OrderOut(many=True)} | schema.LIST["responses"],
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List your orders, newest first."""
        asked = query_parameters(request, LISTED_BY)
        filters: dict[str, Any] = {}
        if not FILTERS.isdisjoint(asked):
            wanted = OrderFilter(data=asked.dict())
            wanted.is_valid(raise_exception=True)
            filters = wanted.validated_data
        find = partial(selectors.orders_of, owner=self.owner(), **filters)
        page = self.pagination_class().page_of(request, find)
        return conditional(request, page | {"results": [represented(order) for order in page["results"]]})

    @extend_schema(
        operation_id="orders_create",
        request=OrderIn,
        parameters=schema.CREATE["parameters"],
        responses={201: OrderOut} | schema.CREATE["responses"],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Place an order.

        With the `Idempotency-Key` of an earlier request, the response is that request's.
        """
        key = idempotency.key_from(request.headers.get("Idempotency-Key"))
        values, owner = ORDER_IN.run_validation(request.data), self.owner()

        def place() -> Answer:
            order = services.order_create(owner=owner, **values)
            return Answer(201, f"/api/orders/{order.id}", JSONRenderer().render(represented(order)))

        if key is None:
            answer = place()
        else:
            answer = idempotency.once(owner=owner, key=key, body=idempotency.fingerprint(values), work=place)
        return tagged(answer.body, status=answer.status, headers={"Location": answer.location})


@extend_schema(tags=["orders"])
class OrderView(OwnersView):
    """One of one's own orders."""

    @extend_schema(
        operation_id="orders_get",
        parameters=schema.GET["parameters"],
        responses={200: OrderOut} | schema.GET["responses"],
    )
    def get(self, request: Request, order_id: int) -> HttpResponseBase:
        """Return the order."""
        return conditional(request, represented(selectors.order_get(owner=self.owner(), order_id=order_id)))


@extend_schema(tags=["orders"])
class OrderCancelView(OwnersView):
    """Cancelling one of one's own orders."""

    @extend_schema(
        operation_id="orders_cancel",
        request=None,
        parameters=schema.CANCEL["parameters"],
        responses={200: OrderOut} | schema.CANCEL["responses"],
    )
    def post(self, request: Request, order_id: int) -> HttpResponseBase:
        """Cancel the order.

        Cancelling it again changes nothing.
        """

        def check(order: OrderRow) -> None:
            check_preconditions(request, etag_of(JSONRenderer().render(represented(order))))

        order = services.order_cancel(owner=self.owner(), order_id=order_id, check=check)
        return tagged(JSONRenderer().render(represented(order)))
