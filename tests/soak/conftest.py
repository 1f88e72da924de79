"""The doors of tests/conformance, and the gateway of the fuzzers."""

from tests.conformance.doors import doors, gateway, worker
from tests.soak.fuzzing import fuzzed

__all__ = ["doors", "fuzzed", "gateway", "worker"]
