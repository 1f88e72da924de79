"""What the orders service answers. No trailing slashes."""

from django.urls import path, register_converter
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularAPIView

from orders import api, health, inputs, problems

register_converter(inputs.Id, "id")

urlpatterns = [
    path("api/orders", api.OrdersView.as_view()),
    path("api/orders/<id:order_id>", api.OrderView.as_view()),
    path("api/orders/<id:order_id>/cancel", api.OrderCancelView.as_view()),
    path("openapi.json", SpectacularAPIView.as_view(renderer_classes=[OpenApiJsonRenderer2, OpenApiJsonRenderer])),
    path("healthz", health.healthz),
]
handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
