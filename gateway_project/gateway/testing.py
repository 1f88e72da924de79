"""For the tests of a gateway.yaml: what the gateway would decide on a request.

    from gateway.testing import explain

    def test_only_admins_reach_the_users():
        assert [role for role in ROLES if explain(FILE, "GET", "/api/users", role=role).is_forwarded] == ["admin"]

Nothing is sent, nothing is counted, and no gateway, service or database need run.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.conf import settings

from .config import load_with_lines

if TYPE_CHECKING:
    from .explaining import Explanation

__all__ = ["explain"]


def explain(
    config: str | Path,
    method: str,
    target: str,
    *,
    user: str | None = None,
    role: str | None = None,
    address: str = "127.0.0.1",
    headers: Iterable[tuple[str, str]] = (),
    environ: Mapping[str, str] | None = None,
) -> "Explanation":
    """Return the decision on a request of a user with that id or role; of neither, on one without a user.

    A user without a role has the last one of the file's `roles`, a role without a user the id `0`. Limits are unused.
    A role that no user can have is a warning: a test by it would show nothing.
    Raises `ConfigError` with the faults of the file.
    """
    if not settings.configured:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
        django.setup(set_prefix=False)
    from .explaining import Explainer, fault_of_role, user_of, with_host  # needs Django's settings

    loaded, lines = load_with_lines(Path(config), os.environ if environ is None else environ)
    hosts = tuple(settings.ALLOWED_HOSTS)
    explainer = Explainer(loaded, lines, allowed_hosts=hosts)
    if fault := fault_of_role(loaded, role):
        warnings.warn(fault, stacklevel=2)
    identity = user_of(loaded, user, role)
    return explainer.explain(method, target, user=identity, address=address, headers=with_host(list(headers), hosts))
