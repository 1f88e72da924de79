"""`manage.py demo_users`: two users to try things with."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from chassis.problems import Conflict
from users import services
from users.models import User


class Command(BaseCommand):
    help = "Creates the users admin (password a) and user (password u) if there are no users; never in production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="Migrate the database first.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        if options["migrate"]:
            call_command("migrate", verbosity=0)
        if settings.ENV.gatehouse_env == "production":
            self.stdout.write("Production has no demo users. Make an admin: `./manage_all.sh users createsuperuser`.")
            return
        if User.objects.exists():
            self.stdout.write("There are users already; no demo users are created.")
            return
        try:
            services.user_create(username="admin", email="admin@example.com", password="a", user_type=User.Type.ADMIN)
            services.user_create(username="user", email="user@example.com", password="u")
        except Conflict:
            self.stdout.write("Another process creates the demo users.")
            return
        self.stdout.write("Created the demo users admin (password a) and user (password u).")
