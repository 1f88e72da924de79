"""tests/words.py finds phrases to avoid where people read, and only there."""

from pathlib import Path

import pytest
from tests.words import SETTINGS, Avoided, main

AVOIDED = Avoided({"nobody": "no user", "no one": "no user", "whoever": "the client", "anew": "again"})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("page.md", "One\n\nNobody reads this.\n", [(3, "nobody")]),
        ("page.md", "> that no\n> one reads\n", [(1, "no one")]),
        ("page.md", "Nobody’s, nobody's and no   one\n", [(1, "nobody"), (1, "nobody"), (1, "no one")]),
        ("page.md", "The user `nobody` runs it: `chown nobody`.\n", []),
        ("page.md", "```yaml\nallow: []  # nobody\n```\n", [(2, "nobody")]),
        ("run.sh", "echo started  # for no\n# one\n", [(1, "no one")]),
        ("gateway.yaml", "# begun anew\nversion: 1\n", [(1, "anew")]),
        ("page.html", "<p>Whoever signs\nin</p>", [(1, "whoever")]),
        ("code.py", "def f(whoever):\n    return nobody.anew  # whoever\n", [(2, "whoever")]),
        ("code.py", '"""Return what no\none has."""\n', [(1, "no one")]),
        ("code.py", 'raise ValueError(\n    "expected no "\n    f"one: {anew} {1}"\n)\n', [(2, "no one")]),
        ("code.py", 'log(f"for {nobody} begun anew")\n', [(1, "anew")]),
        ("code.py", "# for no\n# one\n", [(1, "no one")]),
        ("code.py", """f"{1 if anew else f'{2}'} · {f(anew)}"\n""", []),
        ("page.md", "renewed, no one-time codes, a none-zero value\n", []),
    ],
)  # fmt: skip
def test_a_phrase_is_found_in_prose_and_not_in_names(name: str, text: str, expected: list[tuple[int, str]]) -> None:
    assert list(AVOIDED.find(name, text)) == expected


def test_a_longer_phrase_may_be_fine() -> None:
    avoided = Avoided({"anew": "again"}, ["life anew"])
    assert list(avoided.find("page.md", "A life\nanew, begun anew.\n")) == [(2, "anew")]


def test_a_finding_is_printed_with_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("A token for\nwhoever asks.\n")
    assert main([str(page)]) == 1
    found, count = capsys.readouterr().out.splitlines()
    assert found == f"{page}:2: “whoever”: write {SETTINGS['avoid']['whoever']}"
    assert count.startswith("Change these 1, ")


def test_prose_without_these_phrases_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("A token for the client.\n")
    assert main([str(page)]) == 0
    assert capsys.readouterr().out == ""


def test_a_path_without_files_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no file of git under nowhere"):
        main(["nowhere"])


def test_every_exception_is_of_a_file_and_needed() -> None:
    for name, phrases in SETTINGS["allow"].items():
        text = (Path(__file__).parents[2] / name).read_text()
        found = {phrase for _, phrase in Avoided(SETTINGS["avoid"]).find(name, text)}
        assert set(phrases) <= found, name
