"""What the orders service answers. No trailing slashes."""

from django.urls import path, register_converter

from chassis import problems
from chassis.converters import Id
from orders import api

register_converter(Id, "id")

urlpatterns = [
    path("api/orders", api.OrdersView.as_view()),
    path("api/orders/<id:order_id>", api.OrderView.as_view()),
    path("api/orders/<id:order_id>/cancel", api.OrderCancelView.as_view()),
]
handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
