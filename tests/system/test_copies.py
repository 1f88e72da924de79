"""What stands in each project on purpose stays the same in each."""

import pytest
from tests.system.stack import ROOT

EVERYWHERE = ("gateway_project/gateway", "users_project/users", "orders_project/orders")
SERVICES = EVERYWHERE[1:]


@pytest.mark.parametrize(
    ("name", "folders"),
    [(name, EVERYWHERE) for name in ("handlers.py", "logs.py", "middleware.py", "problems.py", "inputs.py", "pages.py")]
    + [(name, SERVICES) for name in ("health.py", "passports.py")],
)
def test_the_copies_are_the_same(name: str, folders: tuple[str, ...]) -> None:
    assert len({(ROOT / folder / name).read_text() for folder in folders}) == 1
