"""Policies that contradict each other once the three levels are merged: faults, and warnings of `check`.

What cannot work is a fault; what works, but hardly as it is meant, is a warning. Each check works on the nodes, so that
it also finds its faults in a file that has others. It yields a place and a message; a place is reported once, however
many routes take the policy from it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from . import values
from .document import DocumentReader, Mark, Node, shown
from .levels import all_levels, nearest, route_levels, service_levels

Findings = Iterator[tuple[Mark, str]]
Check = Callable[[Node], Findings]

TOTAL: Final = 10.0
# Parameters as other frameworks write them.
LIKE_A_PARAMETER: Final = re.compile(r":(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\*{1,2}")


def check(root: Node, reader: DocumentReader) -> None:
    """Note every contradiction that cannot be meant."""
    report(FAULTS, root, reader)


def warn(root: Node, reader: DocumentReader) -> None:
    """Note what has no effect, or hardly the one that is meant."""
    report(WARNINGS, root, reader)


def report(checks: tuple[Check, ...], root: Node, reader: DocumentReader) -> None:
    for each in checks:
        for mark, message in dict(each(root)).items():
            reader.fault(mark, message)


# Values of nodes, empty where they are invalid, which is reported elsewhere.


def seconds(node: Node | None) -> float | None:
    with suppress(ValueError):
        return values.duration(node.value) if node else None
    return None


def number(node: Node | None) -> int | None:
    """Return a whole number, which may be text from a variable."""
    text = str(node.value) if node else ""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def texts(node: Node | None) -> list[str]:
    """Return a text, or those of a list."""
    found = [node, *node.children()] if node else []
    return [str(each.value) for each in found if isinstance(each.value, str | int)]


def keys(section: Node | None) -> dict[str, Node]:
    return section.value if section and isinstance(section.value, dict) else {}


def place(node: Node) -> Mark:
    return node.key or node.mark


def last(*nodes: Node) -> Node:
    """Return the one that is written last, which is the one to change."""
    return max(nodes, key=lambda node: (node.mark.line, node.mark.column))


def methods_of(route: Node) -> list[str]:
    return texts(route.get("methods")) or list(values.EVERY_METHOD)


def is_empty(node: Node | None) -> bool:
    return node is not None and node.value == []


# Faults.


def any_origin_with_credentials(root: Node) -> Findings:
    for levels in all_levels(root):
        credentials, origins = nearest(levels, "cors", "credentials"), nearest(levels, "cors", "origins")
        if credentials and origins and credentials.value is True and origins.plain() in ("*", ["*"]):
            yield (
                max(credentials, origins, key=lambda node: node.mark.line).mark,
                (
                    "`credentials: true` with every origin: any page could use a user's cookies. "
                    "List the origins, or remove `credentials`."
                ),
            )


def validation_without_document(root: Node) -> Findings:
    for _, name, policy, defaults in unchecked(root):
        if policy is not defaults:
            yield (
                policy.mark,
                (
                    "`validate` needs the service's document. "
                    f"Give service {shown(name)} an `openapi` path, or remove `validate`."
                ),
            )


def unchecked(root: Node) -> Iterator[tuple[Node, str, Node, Node | None]]:
    """Yield the service of each route that validates without a document, its name, and `validate`: the one in force,
    and that of `defaults`.
    """
    defaults, services = root.get("defaults"), root.get("services")
    general = defaults.get("validate") if defaults else None
    named = {id(service): name for name, service in keys(services).items()}
    for levels in route_levels(root):
        service = next((level for level in levels if id(level) in named), None)
        if service is None or not isinstance(service.value, dict) or service.get("openapi"):
            continue
        policy = nearest(levels, "validate")
        if policy and policy.value in ("report", "enforce"):  # it may be a list
            yield service, named[id(service)], policy, general


# Warnings.


def unvalidated_service(root: Node) -> Findings:
    for service, name, policy, defaults in unchecked(root):
        if policy is defaults:
            yield (
                service.key or service.mark,
                (
                    f"requests to service {shown(name)} are not validated: it has no document. "
                    "Give it an `openapi` path, or write `validate: skip` here."
                ),
            )


def wait_beyond_total(root: Node) -> Findings:
    """Of one section: an outer level's `connect` may well be longer than the `total` of a fast route."""
    for levels in all_levels(root):
        section = levels[0].get("timeouts") if levels else None
        total = seconds(section.get("total")) if section else None
        for name in ("connect", "first_byte"):
            node = section.get(name) if section else None
            wait = seconds(node)
            if node and total and wait and wait > total:
                yield (
                    node.mark,
                    (
                        f"`{name}` {shown(node.value)} is longer than `total`, which ends the wait before. "
                        f"Shorten `{name}`, or lengthen `total`."
                    ),
                )


def queue_beyond_total(root: Node) -> Findings:
    for levels in all_levels(root):
        wait, total = nearest(levels, "queue", "wait"), nearest(levels, "timeouts", "total")
        longest, whole = seconds(wait), seconds(total) or TOTAL
        if wait and longest and longest >= whole:
            yield (
                last(wait, *([total] if total else [])).mark,
                (
                    f"`queue.wait` {shown(wait.value)} is not shorter than `timeouts.total`: a request that waits "
                    "so long is 504 before it is sent. Shorten `wait`, or lengthen `total`."
                ),
            )


def queue_without_places(root: Node) -> Findings:
    for levels in all_levels(root):
        section = levels[0].get("queue") if levels else None
        wait, size = (section.get("wait"), section.get("size")) if section else (None, None)
        if wait and number(size) == 0:
            yield place(wait), "`wait` has no effect with `size: 0`: no request waits. Remove it, or raise `size`."


def retries_of_unsafe_methods(root: Node) -> Findings:
    """Of a route's own `retry`: that of a service is for its other routes."""
    for levels in route_levels(root):
        retry = levels[0].get("retry")
        causes = texts(nearest(levels, "retry", "on"))
        if retry is None or number(nearest(levels, "retry", "attempts")) == 1 or causes == ["connect"]:
            continue
        if set(methods_of(levels[0])) <= {"POST", "PATCH"}:
            yield (
                place(retry),
                (
                    f"`retry` on a route with {' and '.join(methods_of(levels[0]))} alone: without an "
                    "`Idempotency-Key` only a request that no address accepted is sent again. "
                    "Remove it, or write `on: [connect]`."
                ),
            )


def retries_turned_off(root: Node) -> Findings:
    for levels in all_levels(root):
        section = keys(levels[0].get("retry")) if levels else {}
        if number(section.get("attempts")) == 1:
            for name in section.keys() & {"on", "budget"}:
                yield place(section[name]), f"`{name}` has no effect with `attempts: 1`. Remove one of them."


def ejection(root: Node) -> Findings:
    for levels in (each for each in all_levels(root) if each):
        section = keys(levels[0].get("eject"))
        rest, longest = section.get("rest"), section.get("max_rest")
        if rest and longest and (seconds(rest) or 0) > (seconds(longest) or TOTAL * 1000):
            yield rest.mark, "`rest` is longer than `max_rest`, which is in force. Shorten one, or lengthen the other."
        if (most := section.get("most")) and most.value == "0%":
            for name in section.keys() - {"most"}:
                yield place(section[name]), f"`{name}` has no effect with `most: 0%`. Remove one of them."


def cors_without_origins(root: Node) -> Findings:
    """Of `defaults`, if no other level has origins either."""
    is_used = False
    for levels in (*route_levels(root), *service_levels(root)):
        origins = nearest(levels, "cors", "origins")
        is_used = is_used or bool(origins and not is_empty(origins))
        if not origins and (section := levels[0].get("cors")) and keys(section):
            yield place(section), "`cors` has no effect without `origins`. List them, or remove it."
    section = nearest([each for each in [root.get("defaults")] if each], "cors")
    if section and keys(section) and not section.get("origins") and not is_used:
        yield place(section), "`cors` has no effect without `origins`. List them, or remove it."


def cors_of_other_methods(root: Node) -> Findings:
    for levels in route_levels(root):
        allowed = {*methods_of(levels[0]), "OPTIONS"}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        own = nearest(levels[:1], "cors", "methods")
        for method in own.children() if own else []:
            if method.value in values.METHODS and method.value not in allowed:
                yield (
                    method.mark,
                    (
                        f"the route does not accept {method.value}, so no page can use it. "
                        "Remove it, or add it to the route's `methods`."
                    ),
                )


def cors_without_credentials(root: Node) -> Findings:
    for levels in route_levels(root):
        origins, headers = nearest(levels, "cors", "origins"), nearest(levels, "cors", "headers")
        allow, credentials = levels[0].get("allow"), nearest(levels, "cors", "credentials")
        if not (origins and headers and allow) or is_empty(origins) or allow.value == "public":
            continue
        if "authorization" not in map(str.lower, texts(headers)) and not (credentials and credentials.value is True):
            yield (
                headers.mark,
                (
                    "pages of other origins cannot sign in: `headers` lacks Authorization, and `credentials` is false. "
                    "Add Authorization to `headers`."
                ),
            )


def cors_of_pages(root: Node) -> Findings:
    for levels in route_levels(root):
        browser, origins = levels[0].get("browser"), nearest(levels, "cors", "origins")
        if browser and browser.value == "passthrough" and origins and not is_empty(origins):
            own = nearest(levels[:1], "cors", "origins")
            yield (
                (own or browser).mark,
                f"`cors`{'' if own else f' of line {origins.mark.line}'} lets pages of other origins read these pages, "
                "which are for browsers to open. "
                + ("Remove it." if own else "Write `cors: {origins: []}` at this route."),
            )


def exposed_and_removed(root: Node) -> Findings:
    for levels in all_levels(root):
        exposed, removed = nearest(levels, "cors", "expose"), nearest(levels, "headers", "response", "remove")
        gone = set(map(str.lower, texts(removed)))
        for name in exposed.children() if exposed else []:
            if isinstance(name.value, str) and name.value.lower() in gone:
                yield (
                    name.mark,
                    f"`headers.response.remove` has {name.value} too, so no page can read it. Remove one of them.",
                )


def turned_off_twice(root: Node) -> Findings:
    for levels in all_levels(root):
        for path in (("allow_from",), ("rate_limit",), ("cors", "origins")):
            node = nearest(levels[:1], *path)
            outer = nearest(levels[1:], *path)
            if node and is_empty(node) and (outer is None or is_empty(outer)):
                yield place(node), f"`{path[-1]}: []` has no effect: no outer level declares any. Remove it."


def tls_of_plain_urls(root: Node) -> Findings:
    for levels in service_levels(root):
        tls, urls = levels[0].get("tls"), levels[0].get("url")
        entries = [urls, *urls.children()] if urls else []
        written = [text for entry in entries for text in texts(entry.get("url") or entry)]
        if tls and written and not any(text.startswith("https://") for text in written):
            yield place(tls), "`tls` has no effect: no URL of the service is https. Remove it, or write https URLs."


def compression_forbidden(root: Node) -> Findings:
    for levels in route_levels(root):
        compress = next((node for level in levels if (node := level.get("compress"))), None)
        rules = (set_headers(level).get("cache-control") for level in levels)
        rule = next((node for node in rules if node), None)
        if compress and compress.value is True and rule and "no-transform" in str(rule.value).lower():
            yield (
                place(last(compress, rule)),
                "`compress` has no effect: `headers.response` sets no-transform in Cache-Control. Remove one of them.",
            )


def set_headers(level: Node) -> dict[str, Node]:
    """Return what `headers.response.set` of a level has, by the name in lower case."""
    node: Node | None = level
    for key in ("headers", "response", "set"):
        node = node.get(key) if node else None
    return {name.lower(): each for name, each in keys(node).items()}


def literal_parameters(root: Node) -> Findings:
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        path = route.get("path")
        for segment in str(path.value).split("/") if path else []:
            if path and (found := LIKE_A_PARAMETER.fullmatch(segment)):
                meant = f"{{{found['name']}}}" if found["name"] else "{name}, or {rest...} for the rest"
                yield path.mark, f"the segment {shown(segment)} matches only itself. For a parameter write {meant}."


FAULTS: Final[tuple[Check, ...]] = (any_origin_with_credentials, validation_without_document)
WARNINGS: Final[tuple[Check, ...]] = (
    unvalidated_service,
    wait_beyond_total,
    queue_beyond_total,
    queue_without_places,
    retries_of_unsafe_methods,
    retries_turned_off,
    ejection,
    cors_without_origins,
    cors_of_other_methods,
    cors_without_credentials,
    cors_of_pages,
    exposed_and_removed,
    turned_off_twice,
    tls_of_plain_urls,
    compression_forbidden,
    literal_parameters,
)
