"""Settings of all tests. Examples have no time limit, since a machine may be slow.

Processes that tests start import the chassis of this checkout, even if another one is installed.
"""

import os
from pathlib import Path

from hypothesis import settings

CHASSIS = Path(__file__).resolve().parents[1] / "chassis" / "src"
os.environ["PYTHONPATH"] = os.pathsep.join([str(CHASSIS), *filter(None, [os.environ.get("PYTHONPATH")])])

# The default run uses the same examples each time, so that its result is stable; `-m long` uses new ones.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("new", deadline=None)


def pytest_configure(config) -> None:
    settings.load_profile("same" if "not long" in config.option.markexpr else "new")
