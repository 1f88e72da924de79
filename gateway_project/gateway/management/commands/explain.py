"""`manage.py explain GET /api/orders/7 --as 7`: what the gateway would decide on a request, and why."""

import os
import re
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from gateway import configuration
from gateway.config import ConfigError, RateLimit, load_with_lines
from gateway.counters import Counters
from gateway.explaining import Explainer, Explanation, fault_of_role, unused, user_of, with_host, with_states
from gateway.identity import key_storage
from gateway.identity.keys import Keys
from gateway.identity.revocations import Revocations
from gateway.identity.tokens import GatewayBackend
from gateway.policy.limits import Verdict
from gateway.policy.rejections import CircuitOpen, MethodNotAllowed
from gateway.status import statuses


class Command(BaseCommand):
    help = "Explain what the gateway would decide on a request. Nothing is sent and nothing is counted."
    # A gateway.yaml with errors is reported below. What is only odd about it is said by `check`.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("method", help="such as GET")
        parser.add_argument("target", help="path and query, such as /api/orders/7?page=2")
        parser.add_argument("--as", dest="user", metavar="ID", help="a signed-in user with this id")
        parser.add_argument("--role", help="the role of the user; by default the last one of `roles`")
        parser.add_argument("--token", help="an access token, which is verified")
        parser.add_argument("--from", dest="address", default="127.0.0.1", help="the address of the client")
        parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be repeated")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        headers = [header_of(text) for text in options["header"]]
        if options["user"] is not None and not re.fullmatch("[0-9]+", options["user"]):
            raise CommandError(f"--as takes the user's id, such as 7. Got {options['user']}. For a role, use --role.")
        token, has_user = options["token"], options["user"] is not None or options["role"] is not None
        if token and has_user:
            raise CommandError("--token names the user already. Leave out --as and --role.")
        has_credentials = any(name.lower() in {"authorization", "cookie"} for name, _ in headers)
        if has_credentials and (token or has_user):
            raise CommandError("Send a user or a header with credentials, not both.")
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        headers = with_host(headers, settings.ALLOWED_HOSTS)
        try:
            config, lines = load_with_lines(settings.GATEWAY_CONFIG, os.environ)
        except ConfigError as exc:
            raise CommandError(str(exc)) from exc
        with_tokens = bool(token) or has_credentials
        explainer = Explainer(
            config,
            lines,
            allowed_hosts=tuple(settings.ALLOWED_HOSTS),
            trusted_proxies=settings.TRUSTED_PROXIES,
            peek=self.peek,
            backend=GatewayBackend(Keys(key_storage.configured())) if with_tokens else None,
            ended=self.ended() if with_tokens else (),
        )
        if fault := fault_of_role(config, options["role"]):
            self.stderr.write(self.style.WARNING(fault))
        user = user_of(config, options["user"], options["role"])
        method, target = options["method"].upper(), options["target"]
        found = explainer.explain(method, target, user=user, address=options["address"], headers=headers)
        workers = list(statuses(settings.STATE))
        on_disk = configuration.digest_on_disk(settings.GATEWAY_CONFIG)
        if any(worker["config"]["sha256"] not in {"", on_disk} for worker in workers):
            what = "is not in force as it is on disk: below is what it would do after a reload."
            self.stderr.write(self.style.WARNING(f"{settings.GATEWAY_CONFIG.name} {what}"))
        found = with_states(found, workers)
        if options["json"]:
            self.stdout.write(found.as_json())
            return
        heading = f"{method} {target}{user_in_words(found, options['user'], options['role'])}"
        self.stdout.write("\n".join([heading, "", *text_of(found, settings.GATEWAY_CONFIG.name)]))

    def peek(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
        """Return the verdicts by the counts in force: those of REDIS_URL, else of this machine."""
        if settings.REDIS_URL is not None:
            from gateway import shared_counters  # its client is imported only where it is used

            try:
                return shared_counters.peek(settings.REDIS_URL, settings.REDIS_TIMEOUT, keys, limits)
            except shared_counters.ERRORS as exc:
                self.stderr.write(f"REDIS_URL: {exc}. The counts are this machine's.")
        path = settings.STATE / "counters"
        return Counters(path).peek(keys, limits) if path.exists() else unused(keys, limits)

    def ended(self) -> frozenset[str]:
        """Return the sessions that have ended, as far as this gateway's database has them."""
        revocations = Revocations(cast("Any", None))
        try:
            revocations.read_sessions()
        except DatabaseError as exc:
            self.stderr.write(f"Ended sessions cannot be read: {exc}")
        return revocations.ended


def header_of(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise CommandError(f"Expected --header 'Name: value', got {text!r}.")
    return name, value.strip()


def user_in_words(found: Explanation, user: str | None, role: str | None) -> str:
    """Return whom the request comes from, and what of that is assumed."""
    if found.username:
        return f" as user {found.user} {found.username}, role {found.role}, by the token"
    if user is None:
        return f" as {'an' if role[0] in 'aeiouAEIOU' else 'a'} {role}" if role else ""
    return f" as user {user}, role {found.role}" + ("" if role else " (assumed; set it with --role)")


def text_of(found: Explanation, file: str) -> Iterator[str]:
    """Yield the lines for a terminal."""
    if rows := list(rows_of(found, file)):
        width = max(len(row[0]) for row in rows)
        for name, *parts in rows:
            yield "  ".join(part for part in (name.ljust(width), *parts) if part)
        yield ""
    if found.status is not None or not found.sent:
        when = "now " if found.sent else ""
        response = f"{found.status or ''} {found.code}".strip()
        yield f"The gateway would {when}respond: {response}"
        if found.detail:
            yield f"  {found.detail}"
        yield from (f"  {name}: {value}" for name, value in found.response_headers)
    if found.sent:
        if found.status is not None:
            yield ""
            yield "When it is back, the service would get:"
        else:
            if found.ejecting:
                yield f"{found.ejecting} of {found.workers} workers would now respond: 503 {CircuitOpen.code}"
                yield ""
            yield "The service would get:"
        yield f"  {found.sent.line}"
        yield from (f"  {name}: {value}" for name, value in found.sent.headers)


def rows_of(found: Explanation, file: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table: the route, its policies, what is left of its limits, its service."""

    def place(line: int | None) -> str:
        return f"({file}:{line})" if line else "(default)"

    for each in found.candidates:
        yield ("route", each.path, place(each.line))
        verdict = "rejected" if found.code == MethodNotAllowed.code else "not reached"
        yield ("methods", verdict, each.methods, place(each.methods_line))
    if not found.route:
        return
    yield ("route", found.route, place(found.line))
    for step in found.steps:
        yield (step.policy, step.verdict, step.value, place(step.line))
    for limit in found.limits:
        left = f"{limit.left} left of {limit.rate}, one more in {limit.wait:g} s, counted as {limit.key!r}"
        yield (f"limit {limit.name}", left, place(limit.line) if limit.line else "")
    yield ("service", str(found.service), ", ".join(map(str, found.addresses)), place(found.service_line))
