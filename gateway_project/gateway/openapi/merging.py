"""One OpenAPI document of what gateway.yaml exposes: the services' own, cut to the routes and merged."""

import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from chassis.problem_responses import PROBLEM_SCHEMA, problem, problem_responses
from gateway.config import Config, Route, moment_of

from .reading import KINDS, OPERATION, Document, Reading, completed, described, find_fault, valued

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SCHEME = "gatehouse"
VERSION = "3.1.1"
PARAMETER = re.compile(r"\{[^}]*\}")
COMPONENT_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Characters: a longer first line stays in the description alone.
MAX_SUMMARY = 120
# Of a service's document: rounds that look for references to malformed components; faults that are shown.
MAX_ROUNDS = 10
MAX_FAULTS = 5
MAX_FAULT_LENGTH = 200
NOTHING: Mapping[str, str] = MappingProxyType({})
Names = dict[tuple[str, str], str]
References = dict[tuple[str, str], set[tuple[str, str]]]


def shape(path: str) -> str:
    return PARAMETER.sub("{}", path)


class ServiceDocument:
    """A service's document as it is merged: OpenAPI 3.1, without malformed parts and name clashes."""

    def __init__(self, service: str, document: Document, taken: Mapping[str, Document]) -> None:
        self.service = service
        self.is_3_1 = str(document.get("openapi")).startswith(("3.1", "3.2"))
        # In the order found, and once each.
        self.faults: dict[str, None] = {}
        self.raw = self.find_components(document)
        names, references = self.check_components()
        self.names = names | self.new_names(names, references, taken)
        self.reading = Reading(self.is_3_1, self.names)
        self.components = self.read_components(self.reading)[0]
        self.paths = {shape(path): (path, item) for path, item in self.mapping(document, "paths").items()}
        self.description = self.describe(document.get("info"))

    def describe(self, info: object) -> str:
        """Return what the document says of the service in a few words."""
        found = (info.get("description") or info.get("title")) if isinstance(info, dict) else None
        return found if isinstance(found, str) else ""

    def mapping(self, value: Document, name: str, at: str = "") -> Document:
        """Return the object under the name, empty if there is none; note a fault if it is not an object."""
        found = value.get(name, {})
        if not isinstance(found, dict):
            self.faults[f"{at}{name}: expected an object"] = None
            return {}
        return found

    def find_components(self, document: Document) -> dict[tuple[str, str], Any]:
        """Return the components that can be shown, by kind and name."""
        declared = self.mapping(document, "components")
        return {
            (kind, name): value
            for kind in KINDS
            for name, value in self.mapping(declared, kind, "components.").items()
            if COMPONENT_NAME.fullmatch(name)
        }

    def read_components(self, reading: Reading) -> tuple[dict[tuple[str, str], Any], References]:
        """Return the valid components, and what each refers to. A malformed schema allows anything."""
        components: dict[tuple[str, str], Any] = {}
        references: References = {}
        for (kind, name), value in self.raw.items():
            if (kind, name) not in reading.components:
                continue
            at = f"components.{kind}.{name}"
            reading.references = references[kind, name] = set()
            found = COMPLETED.get(kind, lambda read: read)(reading.read(value, at))
            fault = find_fault(KINDS[kind], found, at)
            if fault is not None:
                reading.faults.append(fault)
            if fault is None or kind == "schemas":
                components[kind, name] = found if fault is None else {}
        self.faults |= dict.fromkeys(reading.faults)
        return components, references

    def check_components(self) -> tuple[Names, References]:
        """Return the valid components, without those that refer to malformed ones."""
        names = {key: key[1] for key in self.raw}
        for _ in range(MAX_ROUNDS):
            self.first, references = self.read_components(Reading(self.is_3_1, names))
            if self.first.keys() == names.keys():
                break
            names = {key: key[1] for key in self.first}
        return names, references

    def new_names(self, names: Names, references: References, taken: Mapping[str, Document]) -> Names:
        """Return new names for components that are other than those of the same name from another service.

        One that is the same in both documents is another too, if it refers to one that is.
        """
        shared = {key for key in names if key[1] in taken.get(key[0], {})}
        clashing = {key for key in shared if self.first.get(key) != taken[key[0]][key[1]]}
        while more := {key for key in shared - clashing if references.get(key, set()) & clashing}:
            clashing |= more
        found = {}
        for kind, name in sorted(clashing):
            new = self.service.title().replace("-", "") + name
            while new in taken[kind] or (kind, new) in names:
                new += "_"
            found[kind, name] = new
        return found

    def operation(self, route: Route, upstream_path: str, method: str) -> Document | None:
        """Return the document's operation of the method at the route's path, if it has one and that is well-formed."""
        written, item = self.paths.get(shape(upstream_path), (upstream_path, {}))
        at = f"paths.{written}"
        if not isinstance(item, dict):
            self.faults[f"{at}: expected an object"] = None
            return None
        if method not in item:
            return None
        if not isinstance(item[method], dict):
            self.faults[f"{at}.{method}: expected an object"] = None
            return None
        chosen = {name: value for name, value in item[method].items() if name in OPERATION or name.startswith("x-")}
        self.reading.faults = []
        found = completed(self.reading.read(chosen, f"{at}.{method}"))
        shared = completed(self.reading.read({"parameters": item.get("parameters", [])}, at))
        faults = [
            find_fault("operation", found, f"{at}.{method}"),
            find_fault("path-item", shared, at),
        ]
        self.faults |= dict.fromkeys([*self.reading.faults, *(fault for fault in faults if fault is not None)])
        if any(faults):
            return None
        parameters = self.parameters(upstream_path, written, [*shared["parameters"], *found.get("parameters", [])])
        return found | {"parameters": parameters}

    def parameters(self, upstream_path: str, written: str, found: list[Document]) -> list[Document]:
        """Return an operation's parameters, those in the path under the route's names."""
        names = [name.replace("...", "") for name in PARAMETER.findall(upstream_path)]
        renamed = dict(zip(PARAMETER.findall(written), names, strict=False))
        by_place = {}
        for each in map(self.resolved, found):
            if each is None:
                continue
            name = each["name"]
            if each["in"] == "path":
                if f"{{{name}}}" not in renamed:
                    continue
                name = renamed[f"{{{name}}}"].strip("{}")
            # An operation's own wins over one that is the whole path's.
            by_place[each["in"], name] = each | {"name": name}
        return list(by_place.values())

    def resolved(self, parameter: Document) -> Document | None:
        """Return the parameter that a reference, or one to a reference, leads to."""
        by_name = {(kind, new): (kind, name) for (kind, name), new in self.names.items()}
        for _ in range(MAX_ROUNDS):
            if "$ref" not in parameter:
                return parameter
            _, _, kind, name = str(parameter["$ref"]).split("/")[:4]
            parameter = self.components.get(by_name.get((kind, name), ("", "")), {})
            if kind != "parameters" or not parameter:
                return None
        return None


COMPLETED: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"responses": described, "parameters": valued, "headers": valued}
)


def with_summary(operation: Document) -> Document:
    """Return the operation with a summary: the first line of its description, if it has no other."""
    first, _, rest = str(operation.get("description", "")).partition("\n")
    line = first.strip().removesuffix(".")
    if "summary" in operation or not 0 < len(line) <= MAX_SUMMARY:
        return operation
    return operation | {"summary": line, "description": rest.strip()}


def with_access(route: Route, service: str, operation: Document) -> Document:
    """Return the operation with the route's access, and with everything that OpenAPI requires."""
    named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
    missing = [name.strip("{}") for name in PARAMETER.findall(route.path)]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in missing
        if name not in named
    ] + operation.get("parameters", [])
    found = {
        **with_summary(operation),
        "tags": operation.get("tags") or [service],
        "responses": dict(sorted({**operation.get("responses", {}), **access_problems(route, operation)}.items())),
    }
    found.pop("parameters", None)
    if parameters:
        found["parameters"] = parameters
    found = with_deprecation(route, found)
    if route.allow == "public":
        return found | {"security": []}
    roles = "any signed-in user" if route.allow == "authenticated" else ", ".join(sorted(route.allow))
    description = f"{found.get('description', '')}\n\nFor: {roles}.".strip()
    return found | {"security": [{SCHEME: []}], "description": description}


def with_deprecation(route: Route, operation: Document) -> Document:
    """Return the operation, marked if the route is deprecated, with when it ends and what replaces it."""
    rules = route.deprecated
    if rules.since is None:
        return operation
    parts = [f"Deprecated since {moment_of(rules.since)}."]
    parts += [f"It is expected to end on {moment_of(rules.sunset)}."] if rules.sunset else []
    parts += [f"Use `{rules.successor}` instead."] if rules.successor else []
    parts += [f"See <{rules.link}>."] if rules.link else []
    description = f"{operation.get('description', '')}\n\n{' '.join(parts)}".strip()
    return operation | {"deprecated": True, "description": description}


def access_problems(route: Route, operation: Document) -> Document:
    """Return the problems that the gateway itself responds with on the route."""
    statuses = [401] * (route.allow != "public") + [403] * (not isinstance(route.allow, str))
    statuses += [429] * (route.rate_limit is not None)
    declared = operation.get("responses", {})
    found = {str(status): problem(status) for status in statuses if str(status) not in declared}
    return found if "default" in declared else found | {"default": problem(0)}


def add_routes(merged: Document, config: Config, service: str, document: ServiceDocument | None) -> None:
    """Add the operations of the service's routes, as far as it documents them; pages only if it documents them."""
    taken = {
        each.get("operationId") for item in merged["paths"].values() for each in item.values() if isinstance(each, dict)
    }
    for route in [route for route in config.routes if route.service == service]:
        for method in METHODS:
            if method.upper() not in route.methods:
                continue
            found = document.operation(route, config.upstream_path(route), method) if document else None
            if found is None and (route.browser == "passthrough" or (method == "head" and "GET" in route.methods)):
                continue
            operation = with_access(route, service, found or {})
            if (name := operation.get("operationId")) in taken and name is not None:
                operation["operationId"] = f"{service}_{name}"
                if operation["operationId"] in taken:
                    del operation["operationId"]
            taken.add(operation.get("operationId"))
            merged["paths"].setdefault(route.path, {})[method] = operation


def outline(own: Document) -> Document:
    """Return the document with the gateway's own paths, and what all services share."""
    return {
        "openapi": VERSION,
        "info": own["info"],
        "tags": [*own.get("tags", [])],
        "paths": dict(own["paths"]),
        "components": {
            **{kind: dict(components) for kind, components in own.get("components", {}).items()},
            "schemas": {**own.get("components", {}).get("schemas", {}), "Problem": PROBLEM_SCHEMA},
            "responses": problem_responses(),
            "securitySchemes": {
                SCHEME: {
                    "type": "oauth2",
                    "description": "Sign in with username and password.",
                    "flows": {"password": {"tokenUrl": "/api/login", "refreshUrl": "/api/token/refresh", "scopes": {}}},
                }
            },
        },
    }


def merge(
    config: Config,
    own: Document,
    documents: Mapping[str, Document],
    missing: Mapping[str, str] = NOTHING,
    silent: Collection[str] = (),
) -> tuple[Document, dict[str, str]]:
    """Return the gateway's own document with every service's routes, as far as their documents have them; and faults.

    `missing` has the reason for each service without a document; `silent` are those of them that do not respond at all.
    The faults are by service; the document names the services.
    """
    merged = outline(own)
    faults: dict[str, list[str]] = {name: [why] for name, why in missing.items()}
    for name in config.services:
        if name not in documents:
            add_routes(merged, config, name, None)
            continue
        document = ServiceDocument(name, documents[name], merged["components"])
        add_routes(merged, config, name, document)
        for (kind, component), value in document.components.items():
            merged["components"].setdefault(kind, {})[document.names[kind, component]] = value
        merged["tags"].append({"name": name} | ({"description": text} if (text := document.description) else {}))
        if document.faults:
            faults[name] = list(document.faults)
    if faults:
        merged["info"] = own["info"] | {
            "description": incomplete(silent, faults.keys() - set(silent)),
            "x-incomplete": {name: shortened(found) for name, found in sorted(faults.items())},
        }
    return merged, {name: shortened(found) for name, found in faults.items()}


def incomplete(silent: Collection[str], malformed: Collection[str]) -> str:
    kinds = [("These services do not respond", silent), ("The OpenAPI documents of these have faults", malformed)]
    return " ".join(["Not complete.", *(f"{kind}: {', '.join(sorted(names))}." for kind, names in kinds if names)])


def shortened(faults: list[str]) -> str:
    more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
    return "; ".join(fault[:MAX_FAULT_LENGTH] for fault in faults[:MAX_FAULTS]) + more
