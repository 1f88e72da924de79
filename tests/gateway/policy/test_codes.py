"""Every rejection has a stable code, and docs/problems.md lists it."""

import re
from pathlib import Path

import pytest

from gateway import bodies  # noqa: F401  # it has rejections
from gateway.identity import credentials  # noqa: F401
from gateway.policy.rejections import RequestRejected, SlashRedirect, UpstreamError
from gateway.portal import api  # noqa: F401
from gateway.upstreams import ClientLeft

DOCUMENT = (Path(__file__).parents[3] / "docs" / "problems.md").read_text()
TABLE = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", DOCUMENT.partition("## Codes of the gateway")[2], re.MULTILINE)
# Base classes, classes that are not problems, and those for clients that have left.
EXCEPT = {RequestRejected, UpstreamError, SlashRedirect, ClientLeft}


def all_of(kind: type[RequestRejected]) -> set[type[RequestRejected]]:
    return {found for sub in kind.__subclasses__() for found in {sub, *all_of(sub)}}


@pytest.mark.parametrize("kind", sorted(all_of(RequestRejected) - EXCEPT, key=lambda kind: kind.__name__))
def test_a_rejection_s_code_and_status_are_documented(kind: type[RequestRejected]) -> None:
    assert (kind.code, str(kind.status)) in TABLE
