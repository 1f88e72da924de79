"""A real issuer of passports, and a client that sends them as the gateway does."""

from tests.issuer import issuer, user  # noqa: F401  # fixtures
