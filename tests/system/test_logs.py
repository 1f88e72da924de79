"""The volume of the logs, and the recipe of docs/operations.md that rotates them while the projects serve."""

import getpass
import grp
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.system.stack import ROOT, Stack, until


def recipe(stack: Stack) -> str:
    """Return the documented configuration of logrotate, with the directory and the user of this stack."""
    block = re.search(
        r"```\n(/srv/gatehouse/var/logs/\*\.log \{.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL
    )
    assert block
    owner = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    return block[1].replace("/srv/gatehouse/var", str(stack.var)).replace("su gatehouse gatehouse", owner)


def rotate(stack: Stack, place: Path) -> None:
    """Follow the recipe: with logrotate if it is installed, otherwise as its `copytruncate` does."""
    text = recipe(stack)
    if program := shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin"):
        config = place / "logrotate.conf"
        config.write_text(text)
        config.chmod(0o644)
        subprocess.run([program, "--force", "--state", place / "state", config], check=True)
        return
    assert "copytruncate" in text
    for log in (stack.var / "logs").glob("*.log"):
        shutil.copy(log, f"{log}.1")
        os.truncate(log, 0)


def request_is_logged(stack: Stack, token: str) -> str:
    """Send a request, wait until the gateway and orders have logged it, and return its id."""
    identifier = stack.ask("GET", "/api/orders", token=token).headers["X-Request-ID"]

    def everywhere() -> bool:
        return all(identifier in (stack.var / "logs" / f"{name}.log").read_text() for name in ("gateway", "orders"))

    until(everywhere, 10, "the request in both logs")
    return str(identifier)


def test_logs_are_rotated_while_the_projects_serve(stack: Stack, tmp_path: Path) -> None:
    token = stack.login("user", "u")
    first = request_is_logged(stack, token)
    rotate(stack, tmp_path)
    assert list((stack.var / "logs").glob("gateway.log.1*"))
    request_is_logged(stack, token)
    for name in ("gateway", "orders"):
        content = (stack.var / "logs" / f"{name}.log").read_bytes()
        assert first.encode() not in content
        # The projects append. A write at the old end would leave zeros before it.
        assert b"\0" not in content
