"""Prints the JSON Schema: `python -m gateway.config > ../docs/gateway.schema.json`."""

import json
import sys

from gateway.config import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
