"""How `./manage_all.sh test` runs the suites, shown on small ones."""

from pathlib import Path

import pytest
from tests import suites
from tests.suites import Suite

GOOD = "def test_good(): pass\n"
BAD = 'def test_bad(): assert "what is wrong" == ""\n'
LONG = "import pytest\n@pytest.mark.long\ndef test_long(): pass\n"


def suite(folder: Path, name: str, *tests: str) -> Suite:
    """Return a suite of these test files."""
    own = folder / name
    own.mkdir()
    for number, test in enumerate(tests):
        (own / f"test_{number}.py").write_text(test)
    return Suite(name, (str(own),))


def run(folder: Path, *chosen: Suite, arguments: tuple[str, ...] = ()) -> int:
    return suites.main(list(arguments), chosen, folder / "logs")


def test_suites_that_pass_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, suite(tmp_path, "one", GOOD), suite(tmp_path, "two", GOOD, GOOD)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {line.partition(" in ")[0] for line in shown[1:]} == {"one: 1 passed", "two: 2 passed"}


def test_a_suite_that_fails_is_shown_whole_and_the_others_are_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, suite(tmp_path, "bad", BAD), suite(tmp_path, "good", GOOD)) == 1
    shown = capsys.readouterr().out
    assert "what is wrong" in shown
    assert "good: 1 passed" in shown
    assert shown.endswith("failed: bad\n")


def test_long_tests_are_left_out_unless_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, short = suite(tmp_path, "both", GOOD, LONG), suite(tmp_path, "short", GOOD)
    assert run(tmp_path, both) == 0
    assert "both: 1 passed, 1 deselected" in capsys.readouterr().out
    assert run(tmp_path, both, short, arguments=("-m", "long")) == 0
    shown = capsys.readouterr().out
    assert "both: 1 passed, 1 deselected" in shown
    assert "short: 1 deselected" in shown


def test_a_suite_without_a_test_fails_where_nothing_was_chosen(tmp_path: Path) -> None:
    assert run(tmp_path, suite(tmp_path, "empty", "")) == 1


def test_the_stacks_own_settings_are_not_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_FREE_TRIES", "1")
    asks = 'import os\ndef test_none(): assert "LOGIN_FREE_TRIES" not in os.environ\n'
    assert run(tmp_path, suite(tmp_path, "asks", asks)) == 0
