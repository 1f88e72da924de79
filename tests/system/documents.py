"""What tests that type a document share: its commands with their output, and its entries of gateway.yaml."""

import json
import re
from typing import Any

import yaml
from tests.system.stack import ROOT

OWN_CONFIG = ROOT / "gateway_project" / "gateway.yaml"


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def typed(block: str) -> list[tuple[str, str]]:
    """Return each command of a console block with the output below it."""
    steps = [step.partition("\n") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in steps]


def assert_output(command: str, expected: str, output: str) -> None:
    """Fail unless the command has printed what its document shows; `…` stands for any text."""
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("…"))
    assert re.fullmatch(pattern, output.strip(), re.DOTALL), f"{command}\nexpected {expected}\ngot {output}"


def config_with(added: dict[str, Any]) -> str:
    """Return the default gateway.yaml with these services and routes added."""
    config = yaml.safe_load(OWN_CONFIG.read_text())
    config["services"] |= added["services"]
    config["routes"] += added["routes"]
    return json.dumps(config)  # JSON is YAML


def config_without_rate_limits() -> str:
    """Return the default gateway.yaml without its rate limits, for tests that send more requests."""
    lines = OWN_CONFIG.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if "rate_limit:" not in line)
