"""Policies that contradict each other once the three levels are merged: faults, and warnings of `check`.

What cannot work is a fault; what works, but hardly as it is meant, is a warning. The checks read the merged
configuration, and so come after the faults of single values. Each yields a place and a message. A place is reported
once, however many routes take the policy from it.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from . import patterns
from .document import DocumentReader, Mark, Node, meant, shown
from .levels import Declared, declared_routes
from .models import Config

Findings = Iterator[tuple[Mark, str]]
Check = Callable[[Config, Node, list[Declared]], Findings]

# Parameters as other frameworks write them.
LIKE_A_PARAMETER: Final = re.compile(r":(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\*{1,2}")


def check(config: Config, root: Node, reader: DocumentReader) -> None:
    """Note every contradiction that cannot be meant."""
    report(FAULTS, config, root, reader)


def warn(config: Config, root: Node, reader: DocumentReader) -> None:
    """Note what has no effect, or hardly the one that is meant."""
    report(WARNINGS, config, root, reader)


def report(checks: tuple[Check, ...], config: Config, root: Node, reader: DocumentReader) -> None:
    routes = declared_routes(config, root)
    for each in checks:
        for mark, message in dict(each(config, root, routes)).items():
            reader.fault(mark, message)


def last(*nodes: Node | None) -> Mark:
    """Return the place that is written last, which is the one to change."""
    return max((node.mark for node in nodes if node), key=lambda mark: (mark.line, mark.column))


def limits_of(each: Declared) -> list[Node]:
    """Return the names of a route's limits, where they are written."""
    node = each.find("rate_limit")
    if node is None or not isinstance(each.route.rate_limit, tuple):
        return []
    return node.value if isinstance(node.value, list) else [node]


# Faults.


def any_origin_with_credentials(config: Config, root: Node, routes: list[Declared]) -> Findings:
    message = (
        "`credentials: true` with every origin: any page could use a user's cookies. "
        "List the origins, or remove `credentials`."
    )
    for each in routes:
        if each.route.cors.credentials and each.route.cors.origins == ("*",):
            yield last(each.find("cors", "credentials"), each.find("cors", "origins")), message
    # They hold for the gateway's own paths too.
    if config.defaults.cors.credentials and config.defaults.cors.origins == ("*",):
        yield last(root.find("defaults", "cors", "credentials"), root.find("defaults", "cors", "origins")), message


def validation_without_document(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each, node in unchecked(config, routes):
        if node is not root.find("defaults", "validate"):
            advice = f"Give service {shown(each.route.service)} an `openapi` path, or remove `validate`."
            yield node.mark, f"`validate` needs the service's document. {advice}"


def unchecked(config: Config, routes: list[Declared]) -> Iterator[tuple[Declared, Node]]:
    """Yield the routes that validate without a document, each with its `validate`."""
    for each in routes:
        node, has_document = each.find("validate"), config.services[each.route.service].openapi
        if node and each.route.validate != "skip" and not has_document:
            yield each, node


def unusable_limits(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each in routes:
        path, known = each.route.path, patterns.parse(each.route.path).names
        for name in limits_of(each):
            limit = config.limits.get(str(name.value))
            if limit is None:
                all_of_them = f"The limits are {', '.join(config.limits)}."
                declare = "Declare it under `limits`, or write a rate such as 60/minute."
                advice = f"{meant(str(name.value), config.limits)}{all_of_them}" if config.limits else declare
                yield name.mark, f"unknown limit {shown(name.value)}. {advice}"
            elif limit.by.startswith("param:") and limit.by.removeprefix("param:") not in known:
                here = f"Its parameters are {', '.join(known)}." if known else "It has no parameters."
                lacks = f"limit {shown(name.value)} counts by {shown(limit.by)}, which {shown(path)} lacks"
                own = name if each.levels[0].find("rate_limit") else each.find("path") or name
                yield own.mark, f"{lacks}. {here} Name another limit in the route's `rate_limit`."


def impossible_deprecations(config: Config, root: Node, routes: list[Declared]) -> Findings:
    """Yield ends before the beginning, and successors that are not routed."""
    version = config.current_version
    routed = [patterns.normalised(patterns.parse(route.path), version) for route in config.routes]
    for each in routes:
        rules, since = each.route.deprecated, each.find("deprecated", "since")
        if since is None:
            # Of `defaults` a `link` may be for the routes that are deprecated.
            declared = next((node for level in each.levels[:2] if (node := level.find("deprecated"))), None)
            if declared:
                message = "`deprecated` has no `since`. Write the date on which clients were told, or will be."
                yield declared.place, message
            continue
        sunset, successor = each.find("deprecated", "sunset"), each.find("deprecated", "successor")
        if sunset and rules.since and rules.sunset and rules.sunset < rules.since:
            before = f"`sunset` {shown(sunset.value)} is before `since` {shown(since.value)}"
            yield last(since, sunset), f"{before}. Exchange them, or change one."
        fault = fault_of_successor(each.route.path, rules.successor, routed, version) if rules.since else ""
        if successor and fault:
            yield successor.mark, f"successor {shown(successor.value)} {fault}"


def fault_of_successor(path: str, successor: str | None, routed: list[patterns.Pattern], version: str | None) -> str:
    """Return what is wrong with a route's successor, empty if nothing is."""
    old, new = patterns.parse(path), patterns.parse(successor or path)
    if missing := {each for each in new.segments if each.kind != "static"} - set(old.segments):
        names = ", ".join(sorted(each.text for each in missing))
        return f"has parameters that the path {shown(path)} lacks: {names}. Use those of the path."
    old, new = patterns.normalised(old, version), patterns.normalised(new, version)
    if old.shape == new.shape:
        return "is the deprecated path itself. Name another route's path."
    if not any(pattern.covers(new) for pattern in routed):
        return "is not routed. Add its route, or name one that is."
    return ""


# Warnings.


def unvalidated_service(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each, node in unchecked(config, routes):
        if node is root.find("defaults", "validate"):
            what = f"requests to service {shown(each.route.service)} are not validated: it has no document."
            yield each.levels[1].place, f"{what} Give it an `openapi` path, or write `validate: skip` here."


def unknown_roles(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each in routes:
        allow = each.find("allow")
        for role in allow.children() if allow else []:
            if role.value not in config.roles:
                known = f"The roles are {', '.join(config.roles)}. {meant(str(role.value), config.roles)}"
                declared = f"roles: [{', '.join((*config.roles, str(role.value)))}]"
                yield (
                    role.mark,
                    f"unknown role {shown(role.value)}. {known}If users have this role, write {declared}.",
                )


def odd_limits(config: Config, root: Node, routes: list[Declared]) -> Findings:
    """Yield limits by user where requests need no user, and limits that no route uses."""
    used = set()
    for each in routes:
        allow = each.find("allow")
        for name in limits_of(each):
            used.add(name.value)
            by = root.find("limits", str(name.value), "by")
            if by and by.value == "user" and allow and each.route.allow == "public":
                counts = f"limit {shown(name.value)} counts by user, but `allow` is public"
                advice = "Requests without a user count by client address. Write `by: address` to count all of them so."
                yield (name if each.levels[0].find("rate_limit") else allow).mark, f"{counts}. {advice}"
    for name_of in config.limits.keys() - used:
        if node := root.find("limits", name_of):
            yield node.place, f"no route uses limit {shown(name_of)}. Name it in a `rate_limit`."


def cors_without_origins(config: Config, root: Node, routes: list[Declared]) -> Findings:
    has_origins: dict[Mark, bool] = {}
    for each in routes:
        for level in each.levels:
            if cors := level.find("cors"):
                has_origins[cors.place] = has_origins.get(cors.place) or each.find("cors", "origins") is not None
    for mark, is_used in has_origins.items():
        if not is_used:
            yield mark, "`cors` has no effect without `origins`. List them, or remove it."


def cors_of_pages(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each in routes:
        browser, origins = each.find("browser"), each.find("cors", "origins")
        if browser and origins and each.route.browser == "passthrough" and each.route.cors.origins:
            own = each.levels[0].find("cors", "origins")
            yield (
                (own or browser).mark,
                f"`cors`{'' if own else f' of line {origins.mark.line}'} lets pages of other origins read these pages, "
                "which are for browsers to open. "
                + ("Remove it." if own else "Write `cors: {origins: []}` at this route."),
            )


def odd_deprecations(config: Config, root: Node, routes: list[Declared]) -> Findings:
    """Yield routes that should have ended, and those whose clients are not told what to use instead."""
    now = datetime.now(UTC)
    for each in routes:
        rules, since = each.route.deprecated, each.find("deprecated", "since")
        if since is None or rules.since is None:
            continue
        if rules.sunset and rules.sunset < now and (sunset := each.find("deprecated", "sunset")):
            passed = f"`sunset` {shown(sunset.value)} has passed, and the route still responds"
            yield sunset.mark, f"{passed}. Remove the route, or set a later date."
        if not rules.successor and not rules.link:
            message = "`deprecated` without `successor` or `link`: clients are not told what to use instead. Add one."
            yield since.mark, message


def tls_of_plain_urls(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for name, service in config.services.items():
        tls = root.find("services", name, "tls")
        if tls and not any(url.startswith("https://") for url in service.url):
            message = "`tls` has no effect: no URL of the service is https. Remove it, or write https URLs."
            yield tls.place, message


def literal_parameters(config: Config, root: Node, routes: list[Declared]) -> Findings:
    for each in routes:
        path = each.find("path")
        for segment in each.route.path.split("/"):
            if path and (found := LIKE_A_PARAMETER.fullmatch(segment)):
                parameter = f"{{{found['name']}}}" if found["name"] else "{name}, or {rest...} for the rest"
                matches = f"the segment {shown(segment)} matches only itself"
                yield path.mark, f"{matches}. For a parameter write {parameter}."


FAULTS: Final[tuple[Check, ...]] = (
    any_origin_with_credentials, validation_without_document, unusable_limits, impossible_deprecations,
)  # fmt: skip
WARNINGS: Final[tuple[Check, ...]] = (
    unvalidated_service, unknown_roles, odd_limits, cors_without_origins, cors_of_pages, odd_deprecations,
    tls_of_plain_urls, literal_parameters,
)  # fmt: skip
