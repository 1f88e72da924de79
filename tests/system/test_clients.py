"""Clients that others' generators make of the merged document sign in, place an order and list it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.stack import Stack

CLIENTS = Path(__file__).parent / "clients"
DONE = "True tea 2\n400 1\n"
NODE = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="no Node.js with npm is installed here"
)


def run(*command: object, folder: Path) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    """A folder with the document."""
    document = stack.ask("GET", "/openapi.json").json
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.long
def test_a_python_client_uses_the_gateway(stack: Stack, folder: Path) -> None:
    (folder / "config.yaml").write_text("post_hooks: []\n")
    generator = Path(sys.executable).parent / "openapi-python-client"
    output = run(
        *(generator, "generate", "--path", "openapi.json", "--config", "config.yaml", "--meta", "none"),
        *("--output-path", "gatehouse_client", "--fail-on-warning"),
        folder=folder,
    )
    assert "warning" not in output.lower()
    url = f"http://127.0.0.1:{stack.ports['gateway']}"
    assert run(sys.executable, CLIENTS / "orders.py", url, folder=folder) == DONE


@NODE
@pytest.mark.long
def test_a_typescript_client_uses_the_gateway(stack: Stack, folder: Path) -> None:
    for name in ("package.json", "orders.ts"):
        shutil.copy(CLIENTS / name, folder)
    run("npm", "install", "--no-audit", "--no-fund", "--silent", folder=folder)
    run("npx", "openapi-typescript", "openapi.json", "-o", "api.d.ts", folder=folder)
    # It checks the types too.
    run("npx", "tsc", "--strict", "--module", "nodenext", "--target", "es2022", "orders.ts", folder=folder)
    url = f"http://127.0.0.1:{stack.ports['gateway']}"
    assert run("node", "orders.js", url, folder=folder).capitalize() == DONE
