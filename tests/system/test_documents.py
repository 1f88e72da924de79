"""The merged OpenAPI document: valid, and true of what the gateway and the services do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from tests.shares import share
from tests.system.stack import ROOT, Stack

# Operations that end the session of the token with which all the others are tested.
ENDING = ("logout", "user_sessions_end")
# A schema cannot say that a password is strong, a cursor is of an earlier response or an ETag is current.
UNSAYABLE = "positive_data_acceptance"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for this module alone, whose rate limit is out of reach."""
    var = tmp_path_factory.mktemp("var")
    config = var / "gateway.yaml"
    text = (ROOT / "gateway_project/gateway.yaml").read_text()
    config.write_text(text.replace("rate_limit: 120/minute", "rate_limit: 1000000/minute"))
    running = Stack(var, {"GATEWAY_CONFIG": str(config)})
    try:
        running.up()
        yield running
    finally:
        running.down()
    assert running.processes() == []


@pytest.fixture(scope="module")
def document(gateway: Stack) -> Any:
    return gateway.ask("GET", "/openapi.json").json


@pytest.fixture(scope="module")
def tokens(gateway: Stack) -> dict[str, str]:
    """Tokens from before schemathesis changes users."""
    return {"user": gateway.login("user", "u"), "admin": gateway.login("admin", "a")}


def test_the_document_is_valid(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_problems_are_described_once(document: Any) -> None:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    for operation in operations:
        assert operation["summary"]
        assert {each["name"] for each in document["tags"]} >= set(operation["tags"])
        problems = {status: each for status, each in operation["responses"].items() if status[0] in "45d"}
        assert set(problems) >= {"default", *(["401"] if operation["security"] else [])}
        assert all("$ref" in each for each in problems.values()), operation["operationId"]


def find_contradictions(gateway: Stack, document: Any, token: str, folder: Path, examples: int) -> str:
    """Return what schemathesis finds that the document does not say, "" for nothing."""
    for item in document["paths"].values():
        for operation in item.values():
            # It stands for what may happen to any request. Here each status has to be documented.
            operation["responses"].pop("default", None)
    (folder / "openapi.json").write_text(json.dumps(document))
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run", "openapi.json"),
            *("--url", f"http://127.0.0.1:{gateway.ports['gateway']}", "-H", f"Authorization: Bearer {token}"),
            *("--seed", "1", "--max-examples", str(examples), "--phases", "examples,coverage,fuzzing", "--no-color"),
            *(argument for name in ENDING for argument in ("--exclude-operation-id", name)),
            *("--exclude-checks", UNSAYABLE),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_schemathesis_finds_nothing(gateway: Stack, document: Any, tokens: dict[str, str], tmp_path: Path) -> None:
    found = find_contradictions(gateway, document, tokens["admin"], tmp_path, 2)
    assert not found, found


@pytest.mark.long
@pytest.mark.parametrize("role", ["user", "admin"])
def test_schemathesis_finds_nothing_in_many_requests(
    gateway: Stack, document: Any, tokens: dict[str, str], role: str, tmp_path: Path
) -> None:
    found = find_contradictions(gateway, document, tokens[role], tmp_path, share(100))
    assert not found, found
