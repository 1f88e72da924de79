"""`manage.py rotate_keys`: a new signing key, which running workers take up by themselves."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.identity import audit, key_storage, keys, passports, sessions
from gateway.identity.audit import Event


class Command(BaseCommand):
    """Publishes a new key, which signs later; or replaces a stolen one immediately."""

    help = "Make a new signing key. It is published at once, and signs in KEY_LEAD_TIME seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--stolen", action="store_true", help="Replace all keys now, and end all sessions: everyone signs in again."
        )

    def handle(self, *args: Any, stolen: bool = False, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        storage = key_storage.configured()
        if stolen:
            key = keys.replace_stolen(storage)
            ended = sessions.all_sessions_end()
            detail = f"{key.kid}; sessions ended: {ended}"
            audit.record(Event.KEYS_REPLACED, by="rotate_keys --stolen", detail=detail)
            self.stdout.write(f"{key.kid} signs now and all other keys are gone; sessions ended: {ended}.")
            return
        longest = max(
            passports.LIFETIME,
            *(sessions.lifetime(f"{kind}_TOKEN_LIFETIME").total_seconds() for kind in ("ACCESS", "REFRESH")),
        )
        try:
            key, made = keys.rotate(storage, lead=settings.KEY_LEAD_TIME, longest=longest)
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        if made:
            audit.record(Event.KEY_ADDED, by="rotate_keys", detail=key.kid)
        state = "is published and" if made else "is waiting already, no other key is made: it"
        signs_from, until = keys.format_time(key.signs_from), keys.format_time(key.earlier_until)
        self.stdout.write(f"{key.kid} {state} signs from {signs_from}. The keys before it verify until {until}.")
