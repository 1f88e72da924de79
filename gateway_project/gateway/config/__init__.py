"""gateway.yaml: what it may say, and how it is loaded."""

from .addresses import Eject, HealthCheck, WeightedURL
from .consistency import RESERVED
from .cors import Cors
from .deprecation import Deprecated
from .errors import ConfigError, Fault
from .header_rules import HeaderRules
from .lines import Lines
from .loading import load, load_with_lines, warnings
from .models import Config, Limit, Login, Route, Service, Versions
from .policies import Policies, ServicePolicies, Timeouts
from .resilience import Queue, Retry
from .schema import json_schema
from .tls import TLS
from .values import METHODS, RateLimit
from .writing import HIDDEN, moment_of, written

__all__ = [
    "HIDDEN", "METHODS", "RESERVED", "TLS", "Config", "ConfigError", "Cors", "Deprecated", "Eject", "Fault",
    "HeaderRules", "HealthCheck", "Limit", "Lines", "Login", "Policies", "Queue", "RateLimit", "Retry", "Route",
    "Service", "ServicePolicies", "Timeouts", "Versions", "WeightedURL", "json_schema", "load", "load_with_lines",
    "moment_of", "warnings", "written",
]  # fmt: skip
