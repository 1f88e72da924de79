"""What stands in each project on purpose stays the same in each."""

import pytest
from tests.system.stack import ROOT

EVERYWHERE = ("gateway_project/gateway", "users_project/users", "orders_project/orders")
SERVICES = EVERYWHERE[1:]
PROJECTS = ("gateway_project/gateway_project", "users_project/users_project", "orders_project/orders_project")
NAMES = ("handlers", "inputs", "logs", "middleware", "problems", "titles")


@pytest.mark.parametrize(
    ("name", "folders"),
    [(f"{name}.py", EVERYWHERE) for name in NAMES]
    + [(f"{name}.py", SERVICES) for name in ("health", "passports")]
    + [("pages.py", EVERYWHERE[:2]), ("variables.py", PROJECTS)],
)
def test_the_copies_are_the_same(name: str, folders: tuple[str, ...]) -> None:
    assert len({(ROOT / folder / name).read_text() for folder in folders}) == 1
