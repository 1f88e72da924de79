"""The public paths, without trailing slashes."""

from django.urls import path, register_converter

from chassis.converters import Id
from orders.api import OrderViewSet

register_converter(Id, "id")

urlpatterns = [
    path("api/orders", OrderViewSet.as_view({"get": "list", "post": "create"})),
    path("api/orders/<id:order_id>", OrderViewSet.as_view({"get": "retrieve"})),
    path("api/orders/<id:order_id>/cancel", OrderViewSet.as_view({"post": "cancel"})),
]
