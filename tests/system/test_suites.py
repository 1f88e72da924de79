"""`./manage_all.sh test` with small suites."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests import suites
from tests.suites import OTHERS, ROOT, SECONDS, SUITES, Suite

GOOD = "def test_good(): pass\n"
BAD = 'def test_bad(): assert "what is wrong" == ""\n'
LONG = "import pytest\n@pytest.mark.long\ndef test_long(): pass\n"


@pytest.fixture(autouse=True)
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each pytest without installed plugins, which take most of its time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def suite(folder: Path, name: str, *tests: str) -> Suite:
    """Return a suite of these test files."""
    own = folder / name
    own.mkdir()
    for number, test in enumerate(tests):
        (own / f"test_{number}.py").write_text(test)
    return Suite(name, (str(own),))


def run(folder: Path, *chosen: Suite, arguments: tuple[str, ...] = ()) -> int:
    return suites.main(list(arguments), chosen, folder / "logs")


def test_a_suite_that_passes_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, suite(tmp_path, "one", GOOD), suite(tmp_path, "two", GOOD, GOOD)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {line.partition(" in ")[0] for line in shown[1:]} == {"one: 1 passed", "two: 2 passed"}


def test_a_suite_that_fails_prints_its_output_and_the_others_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, suite(tmp_path, "bad", BAD), suite(tmp_path, "good", GOOD)) == 1
    shown = capsys.readouterr().out
    assert "what is wrong" in shown
    assert "good: 1 passed" in shown
    assert shown.endswith("failed: bad\n")


def test_long_tests_run_only_with_their_marker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, short = suite(tmp_path, "both", GOOD, LONG), suite(tmp_path, "short", GOOD)
    assert run(tmp_path, both) == 0
    assert "both: 1 passed, 1 deselected" in capsys.readouterr().out
    assert run(tmp_path, both, short, arguments=("-m", "long")) == 0
    shown = capsys.readouterr().out
    assert "both: 1 passed, 1 deselected" in shown
    assert "short: 1 deselected" in shown


def test_a_suite_of_long_tests_alone_runs_if_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soak = replace(suite(tmp_path, "soak", LONG), long=True)
    assert run(tmp_path, soak) == 0
    assert capsys.readouterr().out.endswith("left out: soak (it takes long: -m long)\n")
    assert run(tmp_path, soak, arguments=("-m", "long")) == 0
    assert "soak: 1 passed" in capsys.readouterr().out


def test_each_test_file_belongs_to_one_suite() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [path for folder in ("tests", "chassis/tests") for path in (root / folder).rglob("test_*.py")]
    places = [(one.name, root / folder) for one in SUITES if not one.on_postgres for folder in one.folders]
    suites_of = {path: [name for name, place in places if path.is_relative_to(place)] for path in files}
    assert {path: names for path, names in suites_of.items() if len(names) != 1} == {}


def test_the_parts_of_a_suite_run_each_of_its_files_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, replace(suite(tmp_path, "long", GOOD, GOOD, GOOD), parts=2)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {line.partition(" in ")[0] for line in shown[1:]} == {"long 1/2: 2 passed", "long 2/2: 1 passed"}


def test_the_parts_of_a_suite_are_about_as_long() -> None:
    assert {path for path in SECONDS if not list((ROOT / "tests").rglob(path))} == set()
    for one in SUITES:
        files = [(part.name, file) for part in one.split() for file in part.folders if one.parts > 1]
        seconds = {file: SECONDS.get("/".join(Path(file).parts[-2:]), OTHERS) for _, file in files}
        sums = [sum(seconds[file] for name, file in files if name == part.name) for part in one.split()]
        # As even as whole files allow.
        assert max(sums) - min(sums) <= max(seconds.values(), default=0), one.name


def test_a_suite_without_tests_fails_unless_arguments_chose_none(tmp_path: Path) -> None:
    assert run(tmp_path, suite(tmp_path, "empty", "")) == 1


def test_the_suites_do_not_see_the_stack_s_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_FREE_TRIES", "1")
    asks = 'import os\ndef test_none(): assert "LOGIN_FREE_TRIES" not in os.environ\n'
    assert run(tmp_path, suite(tmp_path, "asks", asks)) == 0


def test_a_suite_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = suite(tmp_path, "one", GOOD), replace(suite(tmp_path, "two", GOOD), on_demand="it needs a machine")
    assert run(tmp_path, one, two) == 0
    assert capsys.readouterr().out.endswith("left out: two (it needs a machine: ./manage_all.sh test two)\n")
    assert run(tmp_path, one, two, arguments=("two", "-k", "good")) == 0
    shown = capsys.readouterr().out
    assert "two: 1 passed" in shown
    assert "one" not in shown.partition("\n")[2]
