"""The JSON Schema of gateway.yaml, for editors: `python -m gateway.config.schema > ../docs/gateway.schema.json`."""

import json
import sys
from typing import Any

from .models import Config


def json_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12), made from the models."""
    schema: dict[str, Any] = without_null(Config.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "gateway.yaml"}


def without_null(schema: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return the schema without null: a key without a value is a fault, so an editor must not offer it."""
    if isinstance(schema, list):
        return [without_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: without_null(value) for key, value in schema.items() if (key, value) != ("default", None)}
    if {"type": "null"} in kept.get("anyOf", []):
        (only,) = (each for each in kept.pop("anyOf") if each != {"type": "null"})
        return only | kept
    return kept


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
