"""`${VAR}` in the values of gateway.yaml."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.config.substitution import substitute

ENVIRON = {"A": "one", "EMPTY": "", "REFERENCE": "${A}", "_x9": "nine"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("<${A}-${A}>", "<one-one>"),
        ("${_x9}", "nine"),
        ("${EMPTY}", ""),
        ("${A:-two}", "one"),
        ("${NONE:-two}", "two"),
        ("${NONE:-}", ""),
        ("${EMPTY:-two}", "two"),
        ("${NONE:-http://127.0.0.1:8002}", "http://127.0.0.1:8002"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$$", "$$"),
        ("$$${A}", "$one"),
        ("${REFERENCE}", "${A}"),
    ],
)
def test_a_reference_becomes_its_value(text: str, expected: str) -> None:
    assert substitute(text, ENVIRON) == expected


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ValueError, match=r"^the environment variable NONE is not set\. .* default: \$\{NONE:-…\}\.$"):
        substitute("x${NONE}", ENVIRON)


@pytest.mark.parametrize("text", ["$", "a$b", "$A", "${", "${}", "${A", "${A-x}", "${9}", "${A:-{}}", "${A B}"])
def test_a_lone_dollar_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^malformed reference\. Write \$\{NAME\}, \$\{NAME:-default\} "):
        substitute(text, ENVIRON)


def read(tmp_path: Path, url: str, environ: dict[str, str]) -> tuple[str, ...]:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"version: 1\nservices:\n  a:\n    url: {url}\nroutes: []\n")
    return load(path, environ).services["a"].url


@pytest.mark.parametrize("written", ["${URL}", "'${URL}'", '["${URL}"]', "${NONE:-http://x}"])
def test_values_are_substituted_however_they_are_quoted(tmp_path: Path, written: str) -> None:
    assert read(tmp_path, written, {"URL": "http://x"}) == ("http://x",)


@pytest.mark.parametrize("value", ["[http://x, http://y]", "http://x\nhealth: /x", "*alias", "on", "http://x # y"])
def test_a_substituted_value_is_never_read_as_yaml(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, "${URL}", {"URL": value})
    (fault,) = refused.value.faults
    assert (fault.line, fault.column) == (4, 10)
    assert repr(value) in fault.message


def test_a_missing_variable_is_reported_with_its_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, "${URL}", {})
    (fault,) = refused.value.faults
    assert (fault.line, fault.column) == (4, 10)
    assert fault.message.startswith("'${URL}': the environment variable URL is not set. ")


def test_a_substituted_value_has_the_type_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "version: 1\nservices: {}\nroutes: []\ndefaults:\n  max_body: ${BODY}\n  timeouts: {total: '${T}'}\n"
    )
    defaults = load(path, {"BODY": "17", "T": "2m"}).defaults
    assert (defaults.max_body, defaults.timeouts.total) == (17, 120.0)


def test_keys_are_not_substituted(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\nservices:\n  ${A}: {url: http://x}\nroutes: []\n")
    with pytest.raises(ConfigError, match=r"3:3: got '\$\{A\}'; expected a service's name"):
        load(path, {"A": "a"})
