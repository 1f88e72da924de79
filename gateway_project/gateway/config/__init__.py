"""gateway.yaml: what it may say, and how it is loaded."""

from .consistency import RESERVED
from .cors import Cors
from .errors import ConfigError, Fault
from .loading import load, warnings
from .models import Config, Login, Route, Service, Versions
from .policies import Policies, Timeouts
from .schema import json_schema
from .values import METHODS, RateLimit

__all__ = [
    "METHODS",
    "RESERVED",
    "Config",
    "ConfigError",
    "Cors",
    "Fault",
    "Login",
    "Policies",
    "RateLimit",
    "Route",
    "Service",
    "Timeouts",
    "Versions",
    "json_schema",
    "load",
    "warnings",
]
