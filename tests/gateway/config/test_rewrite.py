"""`rewrite` in gateway.yaml."""

from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route


@pytest.mark.parametrize(
    ("path", "rewrite"), [("/a/{id}", "/v2/{id}"), ("/a/{id}/{rest...}", "/b/{rest...}"), ("/a/{id}", "/b")]
)
def test_a_rewrite_uses_parameters_of_the_path(tmp_path: Path, path: str, rewrite: str) -> None:
    config = read(tmp_path, route(path=f"'{path}'", rewrite=f"'{rewrite}'"))
    assert config.upstream_path(config.routes[0]) == rewrite


@pytest.mark.parametrize(
    ("rewrite", "parameter"), [("/v2/{key}", "{key}"), ("/v2/{id...}", "{id...}"), ("/{id}/{x}", "{x}")]
)
def test_a_parameter_that_the_path_lacks_is_a_fault(tmp_path: Path, rewrite: str, parameter: str) -> None:
    assert faults(tmp_path, route(path="'/a/{id}'", rewrite=f"'{rewrite}'")) == [
        f"7:14: the path '/a/{{id}}' has no parameter {parameter}. Use one of its own."
    ]
