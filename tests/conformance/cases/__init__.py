"""The table: what goes in at a door, what the service must have seen of it, what the client must get.

Each case runs at both doors, with one expectation.
"""

from tests.conformance.cases.access import ACCESS, RATE_LIMITS, TOKENS
from tests.conformance.cases.bodies import BODIES, BODY_LIMITS
from tests.conformance.cases.compression import COMPRESSION
from tests.conformance.cases.connections import CONNECTIONS, MALFORMED
from tests.conformance.cases.cross_origin import CROSS_ORIGIN
from tests.conformance.cases.deprecations import DEPRECATIONS
from tests.conformance.cases.header_rules import HEADER_RULES
from tests.conformance.cases.headers import HEADERS_IN, HOSTS, SPOOFING, TRUSTED
from tests.conformance.cases.networks import NETWORKS
from tests.conformance.cases.responses import RESPONSES
from tests.conformance.cases.rewrites import REWRITES
from tests.conformance.cases.targets import METHODS, PATHS, QUERIES

CASES = [
    *PATHS, *QUERIES, *METHODS, *HEADERS_IN, *SPOOFING, *TRUSTED, *TOKENS, *ACCESS, *RATE_LIMITS, *BODY_LIMITS,
    *BODIES, *RESPONSES, *MALFORMED, *HOSTS, *CONNECTIONS,
    *CROSS_ORIGIN, *DEPRECATIONS, *HEADER_RULES, *NETWORKS, *REWRITES, *COMPRESSION,
]  # fmt: skip
