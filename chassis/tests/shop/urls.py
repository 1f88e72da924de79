from django.urls import path
from rest_framework.routers import DefaultRouter

from . import views

router = DefaultRouter()
router.register("books", views.BookViewSet)

urlpatterns = [
    *router.urls,
    path("sales", views.SalesView.as_view()),
    path("version", views.VersionView.as_view()),
    path("either", views.EitherView.as_view()),
    path("fail", views.fail),
    path("missing", views.missing),
    path("form", views.form),
    path("time-left", views.time_left),
]
