"""What holds for every test: a machine may be slow, so that no single example is timed.

The processes that tests start import this checkout's chassis, also if the environment has another one.
"""

import os
from pathlib import Path

from hypothesis import settings

CHASSIS = Path(__file__).resolve().parents[1] / "chassis" / "src"
os.environ["PYTHONPATH"] = os.pathsep.join([str(CHASSIS), *filter(None, [os.environ.get("PYTHONPATH")])])

# The default run takes the same examples each time, and passes each time; `-m long` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)


def pytest_configure(config) -> None:
    settings.load_profile("same" if "not long" in config.option.markexpr else "new")
