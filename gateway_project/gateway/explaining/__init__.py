"""What the gateway would decide on a request, and why. Nothing is sent, and nothing is counted.

It asks the same gate in the same order as the two doors, and shows what they do. The
gate gets parts that only look: counts that are read, passports that are not signed, and a user who has
not signed in.
"""

from .explainer import Explainer, fault_of_role, user_of, with_host
from .explanation import Explanation, Sent, ServiceAddress, with_states
from .observers import unused

__all__ = [
    "Explainer", "Explanation", "Sent", "ServiceAddress", "fault_of_role", "unused", "user_of", "with_host",
    "with_states",
]  # fmt: skip
