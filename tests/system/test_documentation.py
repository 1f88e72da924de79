"""The documents are complete and match the code."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.system.stack import ROOT

SETTINGS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from importlib import import_module
environment = import_module(sys.argv[1].rpartition("/")[2] + ".environment")
print(json.dumps({name.upper(): field.description for name, field in environment.Environment.model_fields.items()}))
"""


def settings_of(project: str) -> dict[str, str]:
    """Return the settings of a project and their descriptions."""
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS, str(ROOT / project)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("project", ["gateway_project", "users_project", "orders_project"])
def test_every_setting_is_in_the_table_and_in_env_example(project: str) -> None:
    table = (ROOT / "docs" / "operations.md").read_text()
    example = (ROOT / ".env.example").read_text()
    for name, description in settings_of(project).items():
        assert re.search(rf"^\| `{name}` \|[^|]*\|[^|]*{re.escape(description)}", table, re.MULTILINE), name
        assert re.search(rf"^#? ?{name}=", example, re.MULTILINE), name


def test_every_documented_setting_exists() -> None:
    known = {name for project in ("gateway", "users", "orders") for name in settings_of(f"{project}_project")}
    # manage_all.sh or gateway.yaml reads these.
    known |= {"GATEHOUSE_VENV", "PYTHON", "USERS_URL", "ORDERS_URL"}
    example = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    table = set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))
    assert example == table == known


def test_compose_publishes_only_the_gateway_and_passes_every_setting() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert compose["networks"]["inside"]["internal"] is True
    for name, service in compose["services"].items():
        assert ("ports" in service) == ("public" in service["networks"]) == (name == "gateway")
        assert service["read_only"] is True
        settings = set(settings_of(f"{name}_project"))
        # The Dockerfile sets these. GATEWAY_PORT sets the published port alone.
        fixed = {"GATEHOUSE_VAR", "GATEWAY_CONFIG", "GATEWAY_PORT", f"{name.upper()}_BIND", f"{name.upper()}_PORT"}
        given = {variable: value for variable, value in service["environment"].items() if variable in settings}
        assert settings - fixed <= set(given) <= settings
        assert set(service["environment"]) - settings <= {"USERS_URL", "ORDERS_URL", "GATEHOUSE_MIGRATE"}
        for variable, value in given.items():
            # Values come from the environment; secrets have no default.
            assert variable in {"JWKS_URL", "GATEWAY_CONFIG"} or value.startswith(f"${{{variable}:-"), variable
            assert not variable.endswith(("SECRET_KEY", "DATABASE_URL")) or value == f"${{{variable}:-}}", variable


def test_every_package_is_named_in_contributing() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text()
    for path in (ROOT / "requirements").glob("*.in"):
        for line in path.read_text().splitlines():
            if name := re.match(r"[a-z][a-z0-9-]*", line):
                assert f"`{name[0]}`" in table, f"{path.name}: {name[0]}"


def test_links_in_the_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def prose_and_headings(path: Path) -> tuple[str, set[str]]:
    """Return a document without its blocks of code, and the anchors of its headings."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return prose, {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_blocks_of_code_are_closed_and_links_to_headings_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "chassis").glob("*.md")]
    for path in documents:
        for block in re.findall(r"^```.*?^```", path.read_text(), re.MULTILINE | re.DOTALL):
            assert not re.search(r"^#{2,} ", block, re.MULTILINE), f"{path.name}: {block[:60]}"
        prose, own = prose_and_headings(path)
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", prose):
            anchors = prose_and_headings(path.parent / target)[1] if target else own
            assert anchor in anchors, f"{path.name}: {target}#{anchor}"


def test_each_explanation_of_the_architecture_is_in_the_docstring_of_its_module() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Explanations")[2].partition("\n## ")[0]
    modules = re.findall(r"^\| [^|]+ \| \[[\w.]+\]\(\.\./([\w/.]+)\) \|$", table, re.MULTILINE)
    assert len(modules) >= 10
    for module in modules:
        docstring = ast.get_docstring(ast.parse((ROOT / module).read_text())) or ""
        assert len(docstring.split()) > 80, module


def commands() -> set[tuple[str, ...]]:
    """Return the words after `./manage_all.sh` in all documents, up to the first that is not a plain word."""
    found = set()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for words in re.findall(r"\./manage_all\.sh((?:\s+[a-z][a-z_]*\b)+)", path.read_text()):
            found.add(tuple(words.split()[:2]))
    return found


def test_every_command_in_the_documents_exists() -> None:
    usage = subprocess.run([ROOT / "manage_all.sh", "help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  ([a-z]+)\b", usage, re.MULTILINE))
    found = commands()
    assert len(found) > 15
    for word, *rest in found:
        if word not in {"gateway", "users", "orders"}:
            assert word in known, word
        elif rest and rest[0] not in {"migrate", "createsuperuser", "check"}:
            assert list(ROOT.glob(f"{word}_project/**/management/commands/{rest[0]}.py")), f"{word} {rest[0]}"
