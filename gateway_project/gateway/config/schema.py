"""The JSON Schema of gateway.yaml, so that editors complete and check it."""

from typing import Any

from .models import Config


def json_schema() -> dict[str, Any]:
    schema: dict[str, Any] = as_written(Config.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "gateway.yaml"}


def as_written(schema: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return pydantic's schema for what the file contains, where it is not what the models hold.

    A key without a value is a fault, so there is no null; the default of a duration or size is text; a section's
    default is that of its keys; no name of a service goes unchecked.
    """
    if isinstance(schema, list):
        return [as_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: as_written(value) for key, value in schema.items()}
    if not isinstance(kept.get("default", ""), str | list):
        del kept["default"]
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    if {"type": "null"} in kept.get("anyOf", []):
        kinds = [each for each in kept.pop("anyOf") if each != {"type": "null"}]
        return (kinds[0] if len(kinds) == 1 else {"anyOf": kinds}) | kept
    return kept
