"""The Django applications: the gateway, its identity."""

from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from .runtime import Runtime


class GatewayConfig(AppConfig):
    """The gateway: its runtime, commands, checks, templates."""

    name = "gateway"

    def ready(self) -> None:
        from . import checks  # noqa: F401  # registers itself; needs loaded settings

    @cached_property
    def runtime(self) -> "Runtime":
        """The process's runtime. `gateway_project.wsgi` asks first, before any request; tests set one of their own."""
        from . import configuration  # needs loaded settings
        from .runtime import Runtime

        return Runtime.build(configuration.load_config())


class IdentityConfig(AppConfig):
    name = "gateway.identity"
