"""The README's console blocks, typed in order, show what the README shows."""

import re
import subprocess

import pytest
from tests.system.stack import ROOT, Stack

BLOCKS = re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Return each command of the README with the output under it; `…` stands for anything."""
    found = []
    for block in BLOCKS:
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = re.sub(r"\\\n\s*", "", step).partition("\n")
            found.append((command, output))
    return found


def test_the_commands_show_what_the_readme_says(stack: Stack) -> None:

    def here(text: str) -> str:
        for name, port in (("gateway", 8001), ("users", 8002), ("orders", 8003)):
            text = text.replace(f":{port}", f":{stack.ports[name]}")
        return text

    script = "set -u\n"
    typed = [(command, output) for command, output in steps() if not command.startswith("./manage_all.sh")]
    assert len(typed) >= 6
    for command, _ in typed:
        script += f"{here(command)}\nprintf '\\n@@@\\n'\n"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=stack.environ, cwd=ROOT
    )
    shown = done.stdout.split("\n@@@\n")
    for (command, expected), output in zip(typed, shown, strict=False):
        pattern = ".*?".join(re.escape(part) for part in here(expected).strip().split("…"))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), f"{command}\nexpected {expected}\ngot {output}"


@pytest.mark.parametrize("command", [command for command, _ in steps() if command.startswith("./manage_all.sh")])
def test_each_manage_all_command_is_one_that_there_is(command: str) -> None:
    usage = subprocess.run([ROOT / "manage_all.sh", "help"], capture_output=True, text=True, check=True).stdout
    word = command.split()[1]
    assert re.search(rf"^  {word}\b", usage, re.MULTILINE) or word in {"gateway", "users", "orders"}
