"""What a page of the browsable API shows: a response, the forms of the path's other methods, and the way to it."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from gateway.bodies import MAX_UPLOAD
from gateway.config import moment_of
from gateway.policy import access, origins
from gateway.policy.access import Identity
from gateway.policy.rejections import RequestRejected
from gateway.policy.routes import Match

from . import descriptions, forms, schemas, tables
from .commands import Call, commands
from .context import RequestContext, WebRequest
from .forms import Field
from .schemas import FORM, RequestBody
from .tables import Cell, Table

LABELS: Final = {"POST": "Send", "PUT": "Replace", "PATCH": "Save changes", "DELETE": "Delete"}
TITLES: Final = {"POST": "Send", "PUT": "Replace", "PATCH": "Change", "DELETE": "Delete"}
NAMES: Final = ("name", "title", "username", "label", "item", "subject", "email", "slug")
# What a service's document has of an operation. Without any, a body is written as JSON.
DESCRIBED: Final = frozenset({"operationId", "summary", "requestBody"})
# Of a list's parameters: those that its pages' own links set.
PAGING: Final = frozenset({"limit", "cursor", "offset", "page", "page_size"})


@dataclass
class Form:
    """A form for one method of the path."""

    method: str
    title: str
    label: str
    action: str
    is_open: bool = False
    fields: list[Field] = field(default_factory=list)
    takes_json: bool = False
    # Bytes of the files that can be sent, of a form that has any.
    max_files: int = 0
    raw: str = ""
    errors: list[str] = field(default_factory=list)
    was_sent: bool = False
    if_match: str = ""
    what: str = ""


@dataclass
class PageRequest:
    """The request that a page responds to."""

    context: RequestContext
    path: str
    query: str
    identity: Identity | None
    document: dict[str, Any]
    sent: Any = None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def match(self, method: str) -> Match | None:
        """Return the path's route for a method that the viewer may use."""
        try:
            match = self.context.runtime.gate.route(method, self.path)
            access.check(match.route.allow, self.identity)
        except RequestRejected:
            return None
        return None if match.handles_options or match.route.browser != "api" else match

    def operation(self, match: Match | None, method: str) -> dict[str, Any]:
        """Return what the document has of a route's method."""
        return descriptions.operations(self.document, match.route).get(method, {}) if match else {}


def context(
    http: WebRequest, match: Match | None, text: str, *, is_cut: bool, etag: str, is_rejected: bool
) -> dict[str, Any]:
    """Return what the template shows of a response and around it."""
    path, query = http.gateway.request.path, http.gateway.request.query
    document = descriptions.document(http.gateway.runtime.documents)
    asked = PageRequest(http.gateway, path, query, http.gateway.signed_in(), document, getattr(http, "sent", None))
    data = None if is_cut else tables.parsed(text)
    table = tables.table_of(data, text, is_cut=is_cut)
    is_object = isinstance(data, dict) and table is None
    method = asked.sent.method if asked.sent else "GET"
    found = {
        "path": path,
        "target": asked.target,
        # For links: a path that is not canonical could lead to another host.
        "here": origins.own_path(asked.target),
        "action": f"/gateway/send{asked.target}",
        "data_href": f"/gateway/data{asked.target}" if match and method == "GET" else "",
        "data": data,
        "table": table and _linked(table, asked),
        "paging": _paging(table, asked) if table else [],
        "object": [(name, tables.cell_of(value)) for name, value in (data or {}).items()] if is_object else [],
        "is_cut": is_cut,
        "trail": _trail(asked),
        "below": _below(asked, match) if match else [],
        "commands": commands(_call(asked, match)),
        "filters": [],
        "forms": [],
    }
    if match is not None:
        found["deprecated"] = _deprecated(match)
        current = data if is_object and not is_rejected and method != "DELETE" else None
        found["forms"] = _forms(asked, match, current=current, etag=etag, rejected=data if is_rejected else None)
        if asked.sent is None:
            found |= _filters(asked)
            found["lead"] = _lead(asked.operation(asked.match("GET"), "GET"))
    return found


def _lead(operation: dict[str, Any]) -> str:
    """Return what the document has about the operation, in a line."""
    text = str(operation.get("summary") or operation.get("description", "")).partition("\n")[0]
    return "" if text.startswith(descriptions.OWN_LINES) else text.replace("`", "")


def _deprecated(match: Match) -> dict[str, str] | None:
    """Return since when the route is deprecated, until when, and what to use instead; `None` if it is not."""
    rules, policies = match.route.deprecated, match.policies
    if rules.since is None or policies is None or policies.deprecation is None:
        return None
    successor = policies.deprecation.successor(match.params)
    return {
        "since": moment_of(rules.since),
        "sunset": moment_of(rules.sunset) if rules.sunset else "",
        # For a link: a parameter could begin with a slash.
        "successor": origins.own_path(successor) if successor else "",
        "link": rules.link or "",
    }


def _trail(asked: PageRequest) -> list[tuple[str, str]]:
    """Return the way here: each path above that the viewer may open, and this one."""
    found: list[tuple[str, str]] = []
    parts = asked.path.strip("/").split("/")
    for count in range(1, len(parts)):
        above = "/" + "/".join(parts[:count])
        routed = [each for each in (above, f"{above}/") if replace(asked, path=each).match("GET")]
        found.extend((each, each) for each in routed[:1])
    return [*found, (asked.path, asked.path)]


def _below(asked: PageRequest, match: Match) -> list[tuple[str, str]]:
    """Return title and link of what the viewer may do below this path, such as to cancel this order."""
    start = f"{match.route.path.rstrip('/')}/"
    found: dict[str, str] = {}
    for route in asked.context.runtime.config.routes:
        rest = route.path.removeprefix(start)
        if not rest or rest == route.path or "{" in rest:
            continue
        one = replace(asked, path=f"{asked.path.rstrip('/')}/{rest}", query="")
        method = next((each for each in ("GET", *TITLES) if one.match(each)), None)
        if method:
            found.setdefault(one.path, _lead(one.operation(one.match(method), method)) or one.path)
    return [(title, path) for path, title in found.items()]


def _linked(table: Table, asked: PageRequest) -> Table:
    """Link each row's id to the page of the row, if that is routed."""
    if "id" not in table.columns:
        return table
    at = table.columns.index("id")
    slash = "/" if asked.path.endswith("/") else ""
    for cells in table.rows:
        cell: Cell = cells[at]
        if cell.kind not in {"number", "text"}:
            continue
        href = f"{asked.path.rstrip('/')}/{quote(cell.text, safe='')}{slash}"
        match = replace(asked, path=href).match("GET")
        if match is None or not match.params:
            break
        cell.href = href
    return table


def _paging(table: Table, asked: PageRequest) -> list[tuple[str, str]]:
    """Return label and link of the pages beside this one, if they are the gateway's."""
    scheme, host = asked.context.origin()
    found = []
    for name, label in (("previous", "Previous page"), ("next", "Next page")):
        parts = urlsplit(table.paging.get(name, ""))
        if parts.path and (parts.scheme, parts.netloc) in {("", ""), (scheme, host)}:
            found.append((label, origins.own_path(f"{parts.path}?{parts.query}")))
    return found


def _call(asked: PageRequest, match: Match | None) -> Call:
    """Return the page's request."""
    scheme, host = asked.context.origin()
    sent = asked.sent
    return Call(
        sent.method if sent else "GET",
        f"{scheme}://{host}{asked.target}",
        match is not None and match.route.allow != "public",
        sent.body if sent and sent.media and not sent.parts else None,
        [(part.name, part.text, part.file is not None) for part in sent.parts] if sent else [],
        is_urlencoded=bool(sent) and sent.media == FORM,
    )


def _filters(asked: PageRequest) -> dict[str, Any]:
    """Return the list's filters: the query's parameters that the document has."""
    match = asked.match("GET")
    operation, document = asked.operation(match, "GET"), asked.document
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(asked.query):
        given.setdefault(f"/{name}", []).append(value)
    named = {
        each["name"]: schemas.resolved(each.get("schema", {}), document) | {"description": each.get("description", "")}
        for each in operation.get("parameters", [])
        if each.get("in") == "query" and each.get("name") not in PAGING
    }
    for schema in named.values():
        schema.pop("default", None)
    fields = forms.fields_of({"properties": named}, document, data={}, typed=given)
    return {
        "filters": [each for each in fields if each.kind not in {"group", "json"}],
        "filter_action": f"/gateway/filter{asked.path}",
        "is_filtered": any(f"/{name}" in given for name in named),
    }


def _forms(asked: PageRequest, sent_to: Match, *, current: Any, etag: str, rejected: Any) -> list[Form]:  # noqa: ANN401  # JSON
    found = []
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        was_sent = bool(asked.sent) and asked.sent.method == method
        # A form that was sent is shown again, also after the session has ended.
        match = asked.match(method) or (sent_to if was_sent else None)
        if match is None:
            continue
        found.append(_form(asked, match, method, current=current, etag=etag, rejected=rejected if was_sent else None))
    return found


def _form(asked: PageRequest, match: Match, method: str, *, current: Any, etag: str, rejected: Any) -> Form:  # noqa: ANN401  # JSON
    """Return the form for a method: filled in with what is stored, or with what was sent and rejected."""
    operation, document = asked.operation(match, method), asked.document
    taken = schemas.request_body(operation, document)
    sent = asked.sent if asked.sent and asked.sent.method == method else None
    again = sent if rejected is not None else None
    is_change = method in {"PUT", "PATCH"}
    found = Form(
        method,
        title=_lead(operation) or TITLES[method],
        label=LABELS[method],
        action=f"/gateway/send{asked.target}",
        takes_json=taken.is_json if taken else method != "DELETE" and not DESCRIBED & operation.keys(),
        is_open=rejected is not None or method in {"POST", "PATCH"},
        was_sent=sent is not None,
        if_match=etag if method != "POST" and etag.startswith('"') else "",
        what=_name_of(current) if method == "DELETE" else "",
    )
    if taken:
        # What was accepted is not offered again, but for a change, which shows what is stored now.
        typed = again.values if again and not again.is_raw else None
        data = (current or {}) if is_change else None
        found.fields = forms.fields_of(taken.schema, document, data=data, typed=typed)
        if forms.file_names(found.fields):
            found.max_files = min(match.route.max_body, MAX_UPLOAD)
    if found.takes_json:
        found.raw = (
            again.body if again and again.is_raw else _example(taken, found.fields, current, is_change=is_change)
        )
    if rejected is not None:
        found.errors = forms.put_errors(found.fields, forms.messages_of(rejected))
    return found


def _example(taken: RequestBody | None, fields: list[Field], current: Any, *, is_change: bool) -> str:  # noqa: ANN401  # JSON
    """Return the JSON to begin with: the document's example, for a change what is stored and can be sent."""
    if taken is None:
        return ""
    example = taken.example
    if is_change and isinstance(current, dict):
        writable = {each.name[1:] for each in fields}
        example = {name: value for name, value in current.items() if name in writable}
    return json.dumps(tables.plain(example), ensure_ascii=False, indent=2)


def _name_of(current: Any) -> str:  # noqa: ANN401  # JSON
    """Return what a person calls the object, empty if nothing in it is a name."""
    if not isinstance(current, dict):
        return ""
    return next((str(current[name]) for name in NAMES if isinstance(current.get(name), str) and current[name]), "")
