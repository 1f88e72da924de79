"""Django's admin of the users, behind the gateway. It saves through the services: the API's rules hold here too."""

from .users import UserAdmin

__all__ = ["UserAdmin"]
