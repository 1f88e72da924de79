"""One OpenAPI document of what gateway.yaml exposes: the services' own, cut to the routes and merged."""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, cast

from gateway.config import Config, Route

from . import specification
from .specification import COMPONENTS, Document, Malformed, Reading, an_object

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SCHEME = "gatehouse"
PARAMETER = re.compile(r"\{[^}]*\}")
COMPONENT_NAME = specification.NAME
OPERATION = specification.operation
PARAMETERS = specification.OPERATION["parameters"]
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
    """A service's document as it is merged: without malformed parts and name clashes."""

    def __init__(self, service: str, document: Document, taken: Mapping[str, Document]) -> None:
        self.service = service
        self.is_3_1 = str(document.get("openapi")).startswith("3.1")
        # In the order found, and once each.
        self.faults: dict[str, None] = {}
        self.raw = self.find_components(document)
        names, references = self.check_references()
        self.names = names | self.new_names(names, references, taken)
        self.reading = Reading(self.is_3_1, self.names)
        self.components = self.read_components(self.reading)[0]
        self.paths = {shape(path): (path, item) for path, item in self.mapping(document, "paths").items()}

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
            for kind in COMPONENTS
            for name, value in self.mapping(declared, kind, "components.").items()
            if COMPONENT_NAME.fullmatch(name)
        }

    def read_components(self, reading: Reading) -> tuple[dict[tuple[str, str], Any], References]:
        """Return the valid components, and what each refers to."""
        components: dict[tuple[str, str], Any] = {}
        references: References = {}
        for (kind, name), value in self.raw.items():
            if (kind, name) in reading.components:
                reading.references = references[kind, name] = set()
                try:
                    components[kind, name] = COMPONENTS[kind](value, f"components.{kind}.{name}", reading)
                except Malformed as malformed:
                    reading.faults.append(str(malformed))
        self.faults |= dict.fromkeys(reading.faults)
        return components, references

    def check_references(self) -> tuple[Names, References]:
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
        """Return the document's operation of the method at the route's path, if it has one."""
        written, item = self.paths.get(shape(upstream_path), (upstream_path, {}))
        at = f"paths.{written}"
        self.reading.faults = []
        try:
            found = an_object(item, at, self.reading)
            if method not in found:
                return None
            read = OPERATION(found[method], f"{at}.{method}", self.reading)
            shared = PARAMETERS(found.get("parameters", []), f"{at}.parameters", self.reading)
        except Malformed as malformed:
            self.reading.faults.append(str(malformed))
            return None
        finally:
            self.faults |= dict.fromkeys(self.reading.faults)
        parameters = self.parameters(route, written, [*shared, *read.get("parameters", [])])
        return cast("Document", read | {"parameters": parameters})

    def parameters(self, route: Route, written: str, found: list[Document]) -> list[Document]:
        """Return an operation's parameters, those in the path under the route's names."""
        renamed = dict(zip(PARAMETER.findall(written), PARAMETER.findall(route.path), strict=False))
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


def with_summary(operation: Document) -> Document:
    """Return the operation with a summary: the first line of its description, if it has no other."""
    line = str(operation.get("description", "")).partition("\n")[0].strip().removesuffix(".")
    return {"summary": line, **operation} if 0 < len(line) <= MAX_SUMMARY else operation


def with_access(route: Route, service: str, operation: Document) -> Document:
    """Return the operation with the route's access, and with everything that OpenAPI requires."""
    named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
    missing = [name.strip("{}") for name in PARAMETER.findall(route.path)]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in missing
        if name not in named
    ] + operation.get("parameters", [])
    completed = {
        **with_summary(operation),
        "tags": operation.get("tags") or [service],
        "responses": operation.get("responses") or {"default": {"description": f"What the {service} service answers."}},
    }
    completed.pop("parameters", None)
    if parameters:
        completed["parameters"] = parameters
    if route.allow == "public":
        return completed | {"security": []}
    roles = "any signed-in user" if route.allow == "authenticated" else ", ".join(sorted(route.allow))
    description = f"{operation.get('description', '')}\n\nFor: {roles}.".strip()
    return completed | {"security": [{SCHEME: []}], "description": description}


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
    merged: Document = {
        "openapi": own["openapi"],
        "info": own["info"],
        "paths": dict(own["paths"]),
        "components": {
            **{kind: dict(components) for kind, components in own.get("components", {}).items()},
            "securitySchemes": {
                SCHEME: {
                    "type": "oauth2",
                    "description": "Sign in with name and password; client_id and client_secret stay empty.",
                    "flows": {"password": {"tokenUrl": "/api/login", "refreshUrl": "/api/token/refresh", "scopes": {}}},
                }
            },
        },
    }
    faults: dict[str, list[str]] = {name: [why] for name, why in missing.items()}
    for name in config.services:
        if name not in documents:
            add_routes(merged, config, name, None)
            continue
        document = ServiceDocument(name, documents[name], merged["components"])
        add_routes(merged, config, name, document)
        for (kind, component), value in document.components.items():
            merged["components"].setdefault(kind, {})[document.names[kind, component]] = value
        if document.is_3_1:
            merged["openapi"] = "3.1.0"
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
