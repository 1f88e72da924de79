"""The Django applications: orders, and the two whose models Simple JWT imports though nothing here has such a table."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders."""

    name = "orders"


class AuthModels(AppConfig):
    """`django.contrib.auth` without its permissions, which would be written after each migration."""

    name = "django.contrib.auth"
    default_auto_field = "django.db.models.AutoField"


class ContentTypeModels(AppConfig):
    """`django.contrib.contenttypes`, likewise."""

    name = "django.contrib.contenttypes"
    default_auto_field = "django.db.models.AutoField"
