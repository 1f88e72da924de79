"""Parts of a service's OpenAPI document as OpenAPI 3.1: 3.0 is converted, what only the services can reach is left out.

What the parts have to be is the OpenAPI Initiative's JSON Schema, with that of JSON Schema itself for schemas.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

Json = Any
Document = dict[str, Any]

COMPONENT: Final = re.compile(r"#/components/([A-Za-z]+)/([A-Za-z0-9._-]+)(/.*)?")
# The kinds of components, and their definitions in OpenAPI's schema.
KINDS: Final = {
    "schemas": "schema",
    "responses": "response-or-reference",
    "parameters": "parameter-or-reference",
    "examples": "example-or-reference",
    "requestBodies": "request-body-or-reference",
    "headers": "header-or-reference",
}
OPERATION: Final = frozenset(
    {
        "tags", "summary", "description", "operationId", "deprecated", "parameters", "requestBody", "responses",
    }
)  # fmt: skip
LEFT_OUT: Final = frozenset({"callbacks", "externalDocs", "links", "servers"})
DATA: Final = frozenset({"const", "default", "enum", "example", "value"})
# Keys of objects that have names as keys.
NAMED: Final = frozenset(
    {"$defs", "content", "dependentSchemas", "encoding", "examples", "headers", "patternProperties", "properties"}
)
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass
class Reading:
    """One reading of a document. `components` may be referred to: by kind and name, with their new names."""

    is_3_1: bool
    components: Mapping[tuple[str, str], str]
    faults: list[str] = field(default_factory=list)
    references: set[tuple[str, str]] = field(default_factory=set)

    def read(self, value: Json, at: str) -> Json:
        """Return the part as OpenAPI 3.1, under the new names. References that lead nowhere are left out."""
        if isinstance(value, list):
            return [self.read(each, f"{at}[{index}]") for index, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found: Document = {}
        for name, each in value.items():
            here = f"{at}.{name}"
            if name in LEFT_OUT:
                continue
            if name == "$ref":
                self._refer(found, each, at)
            elif name in DATA or name.startswith("x-") or (name == "examples" and isinstance(each, list)):
                found[name] = each
            elif name == "mapping" and isinstance(each, dict):
                found[name] = self._mapping(each, here)
            elif name in NAMED and isinstance(each, dict):
                found[name] = {key: self.read(inner, f"{here}.{key}") for key, inner in each.items()}
            else:
                found[name] = self.read(each, here)
        return found if self.is_3_1 else _upgraded(found)

    def _refer(self, found: Document, reference: Json, at: str) -> None:
        match = COMPONENT.fullmatch(reference) if isinstance(reference, str) else None
        if match is None or (match[1], match[2]) not in self.components:
            self.faults.append(f"{at}: expected a reference to a component of this document")
            return
        self.references.add((match[1], match[2]))
        found["$ref"] = f"#/components/{match[1]}/{self.components[match[1], match[2]]}{match[3] or ''}"

    def _mapping(self, value: Document, at: str) -> Document:
        """Read a discriminator's mapping: values are references or names of schemas."""
        found: Document = {}
        for name, each in value.items():
            if isinstance(each, str) and ("schemas", each) in self.components:
                found[name] = self.components["schemas", each]
            elif isinstance(each, str) and "/" in each:
                target: Document = {}
                self._refer(target, each, f"{at}.{name}")
                if target:
                    found[name] = target["$ref"]
            else:
                found[name] = each
        return found


def _upgraded(schema: Document) -> Document:
    """Return a schema of OpenAPI 3.0 as one of 3.1. Other objects have none of these keys."""
    found = {name: each for name, each in schema.items() if name != "nullable"}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(found.get(exclusive), bool):
            is_exclusive = found.pop(exclusive)
            if is_exclusive and bound in found:
                found[exclusive] = found.pop(bound)
    if schema.get("nullable") is not True:
        return found
    if isinstance(found.get("enum"), list) and None not in found["enum"]:
        found["enum"] = [*found["enum"], None]
    if isinstance(found.get("type"), str):
        return found | {"type": [found["type"], "null"]}
    parts = {name: found.pop(name) for name in ("$ref", "allOf", "oneOf", "anyOf") if name in found}
    return found | {"anyOf": [parts, {"type": "null"}]} if parts else found


def completed(operation: Document) -> Document:
    """Return the operation with what OpenAPI requires and documents often lack, where it can be added."""
    if operation.get("responses") == {}:  # OpenAPI wants one; the merged document has `default`
        operation = {name: each for name, each in operation.items() if name != "responses"}
    elif isinstance(responses := operation.get("responses"), dict):
        operation = operation | {"responses": {name: described(each) for name, each in responses.items()}}
    if isinstance(parameters := operation.get("parameters"), list):
        operation = operation | {"parameters": [valued(each) for each in parameters]}
    return operation


def described(response: Json) -> Json:
    is_bare = isinstance(response, dict) and "$ref" not in response and "description" not in response
    return response | {"description": ""} if is_bare else response


def valued(parameter: Json) -> Json:
    if not isinstance(parameter, dict) or "$ref" in parameter:
        return parameter
    found = parameter if "schema" in parameter or "content" in parameter else parameter | {"schema": {}}
    return found | {"required": True} if parameter.get("in") == "path" else found


def find_fault(definition: str, value: Json, at: str) -> str | None:
    """Return what keeps the value from being what OpenAPI 3.1 calls so, or None."""
    error = next(_validator(definition).iter_errors(value), None)
    if error is None:
        return None
    place = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.instance_path)
    return f"{at}{place}: {error.message}"


@cache
def _validator(definition: str) -> Any:  # noqa: ANN401  # of jsonschema-rs, one class for each draft
    import jsonschema_rs  # 8 MiB, for a gateway with documents alone

    official = json.loads(resources.files("drf_spectacular.validation").joinpath("openapi_3_1_schema.json").read_text())
    schema = {
        "$schema": _DRAFT,
        "$id": f"https://gatehouse.invalid/{definition}",
        "$ref": _DRAFT if definition == "schema" else f"{official['$id']}#/$defs/{definition}",
        # OpenAPI's schema leaves open which dialect schemas are of.
        "$defs": {"dialect": {"$dynamicAnchor": "meta", "$ref": _DRAFT}},
    }
    registry = jsonschema_rs.Registry([(official["$id"], official)])
    return jsonschema_rs.validator_for(schema, registry=registry)
