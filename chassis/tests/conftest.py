"""A real issuer of passports, and a client that sends them as the gateway does."""

from tests.conftest import pytest_configure  # noqa: F401  # a hook
from tests.issuer import issuer, user  # noqa: F401  # fixtures
