"""The Django applications: the gateway, its identity, and the two whose models, not tables, Simple JWT needs."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """The gateway: commands, checks, templates."""

    name = "gateway"

    def ready(self) -> None:
        """Register the check of gateway.yaml."""
        from . import checks  # noqa: F401  # registers itself; needs loaded settings


class IdentityConfig(AppConfig):
    """Sessions."""

    name = "gateway.identity"


class AuthModels(AppConfig):
    """`django.contrib.auth` without its permissions, which would be written after each migration."""

    name = "django.contrib.auth"
    default_auto_field = "django.db.models.AutoField"


class ContentTypeModels(AppConfig):
    """`django.contrib.contenttypes`, likewise."""

    name = "django.contrib.contenttypes"
    default_auto_field = "django.db.models.AutoField"
