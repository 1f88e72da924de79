"""The Django applications: the gateway, its identity."""

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
