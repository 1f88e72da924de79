"""The orders API: validate, call, respond."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from . import selectors, services
from .inputs import StrictSerializer, printable
from .models import Order
from .pages import Pages
from .passports import HasRole


class OrderIn(StrictSerializer):
    """What creates an order."""

    item = serializers.CharField(max_length=200, validators=[printable])
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    address = serializers.CharField(max_length=500, validators=[printable])


class OrderOut(serializers.ModelSerializer[Order]):
    """An order as answered."""

    class Meta:
        model = Order
        fields = ("id", "item", "quantity", "address", "status", "created_by", "created_at", "updated_at")
        read_only_fields = fields


class OwnersView(APIView):
    """A view of what belongs to the one who asks."""

    permission_classes = (HasRole,)
    roles = frozenset({"admin", "default"})

    def owner(self) -> int:
        """Return the id of the user who asks."""
        return int(str(self.request.user.pk))


@extend_schema(tags=["orders"])
class OrdersView(OwnersView):
    """One's own orders."""

    pagination_class = Pages

    @extend_schema(operation_id="orders_list", responses=OrderOut(many=True))
    def get(self, request: Request) -> Response:
        """List one's own orders, newest first."""
        pages = self.pagination_class()
        page = pages.paginate_queryset(selectors.orders_of(owner=self.owner()), request, view=self)
        return pages.get_paginated_response(OrderOut(page, many=True).data)

    @extend_schema(operation_id="orders_create", request=OrderIn, responses={201: OrderOut})
    def post(self, request: Request) -> Response:
        """Place an order."""
        data = OrderIn(data=request.data)
        data.is_valid(raise_exception=True)
        order = services.order_create(owner=self.owner(), **data.validated_data)
        return Response(OrderOut(order).data, status=201, headers={"Location": f"/api/orders/{order.pk}"})


@extend_schema(tags=["orders"])
class OrderView(OwnersView):
    """One of one's own orders."""

    @extend_schema(operation_id="orders_get", responses=OrderOut)
    def get(self, request: Request, order_id: int) -> Response:
        """Return the order."""
        return Response(OrderOut(selectors.order_get(owner=self.owner(), order_id=order_id)).data)


@extend_schema(tags=["orders"])
class OrderCancelView(OwnersView):
    """Cancelling one of one's own orders."""

    @extend_schema(operation_id="orders_cancel", request=None, responses=OrderOut)
    def post(self, request: Request, order_id: int) -> Response:
        """Cancel the order; cancelling it again changes nothing."""
        return Response(OrderOut(services.order_cancel(owner=self.owner(), order_id=order_id)).data)
