"""`manage.py demo_users`: two users to try things with."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import services
from users.models import User


class Command(BaseCommand):
    """Creates `admin`/`a` and `user`/`u` if there are no users; never in production."""

    help = "Creates the users admin (password a) and user (password u) if there are no users; never in production."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Create them, or say why not."""
        if settings.ENV.gatehouse_env == "production":
            self.stdout.write("Production has no demo users. `manage.py createsuperuser` creates an admin.")
            return
        if User.objects.exists():
            self.stdout.write("There are users already; no demo users are created.")
            return
        try:
            services.user_create(username="admin", email="admin@example.com", password="a", user_type=User.Type.ADMIN)
            services.user_create(username="user", email="user@example.com", password="u")
        except (Unavailable, StorageFull) as exc:
            raise CommandError(str(exc.detail)) from exc
        self.stdout.write("Created the demo users admin (password a) and user (password u).")
