"""What was acknowledged is there, whatever call a writer was killed at: see `crashes.py`."""

import json
from pathlib import Path

import pytest
from tests.shares import share

from .conftest import PROJECT, environment, python

PROGRAM = Path(__file__).with_name("crashes.py")
# The short test's: its rounds end at calls of every kind.
SEED = 1


@pytest.mark.parametrize(("seeds", "rounds"), [(1, 20), pytest.param(share(100), 100, marks=pytest.mark.long)])
@pytest.mark.record
def test_what_was_acknowledged_is_there_after_a_death_at_any_call(seeds, rounds, tmp_path):
    deaths: set[str] = set()
    for seed in range(SEED, SEED + seeds):
        state = tmp_path / str(seed) / "users"
        variables = {"DJANGO_SETTINGS_MODULE": "users_project.settings", "PYTHONPATH": str(PROJECT)}
        environ = environment(state, LOG_LEVEL="ERROR", **variables)
        done = python(str(PROGRAM), str(seed), str(rounds), **environ)
        assert done.returncode == 0, done.stderr[-4000:]
        deaths |= set(json.loads(done.stdout))
    for call in ("write", "fsync", "commit", "replace"):
        assert any(f" {call}" in death for death in deaths)
    assert any("power cut" in death for death in deaths)
