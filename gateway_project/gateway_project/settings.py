"""Django's settings of the gateway project. What an operator may change comes from `environment`."""

from datetime import timedelta

import chassis
from chassis import database_settings, logs, trace_context
from chassis.environment import state_directory
from gateway_project import environment

ENV = environment.read()
# Bytes of a body that the gateway's own endpoints take; a route's own bound is `max_body` in gateway.yaml.
MAX_BODY = 64 * 1024
GATEHOUSE = {"SERVICE": "gateway", "MAX_BODY": MAX_BODY}

STATE = state_directory(ENV.gatehouse_var, "gateway")
KEYS = ENV.gateway_keys or STATE / "keys"
KEYS_READ_ONLY = ENV.gateway_keys is not None
KEYS_SECRET = ENV.gateway_keys_secret
KEY_LEAD_TIME = ENV.key_lead_time
AUDIT_DAYS = ENV.audit_days
MAX_HEADER_BYTES = ENV.max_header_bytes
MAX_HEADER_FIELD_BYTES = ENV.max_header_field_bytes
MAX_HEADER_FIELDS = ENV.max_header_fields
REFRESH_GRACE = ENV.refresh_grace
GATEWAY_CONFIG = ENV.gateway_config
TRUSTED_PROXIES = ENV.trusted_proxies
METRICS_NETWORKS = ENV.metrics_networks
ACCEPT_BAGGAGE = ENV.accept_baggage
TRACES_SAMPLER = trace_context.Sampler(ENV.otel_traces_sampler, ENV.otel_traces_sampler_arg)
# On the home page: they sign in as a demo user, which production has none of.
SHOW_FIRST_STEPS = ENV.gatehouse_env == "development"

DEBUG = False
SECRET_KEY = ENV.gateway_secret_key
ALLOWED_HOSTS = list(ENV.gateway_allowed_hosts)

INSTALLED_APPS = [
    "chassis.apps.AuthModels",
    "chassis.apps.ContentTypeModels",
    "chassis.apps.PagesConfig",
    # Before those whose templates and commands it replaces.
    "gateway.apps.GatewayConfig",
    "gateway.apps.IdentityConfig",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
MIDDLEWARE = [
    "gateway.portal.middleware.StripClientIdentity",
    "chassis.middleware.RequestLogMiddleware",
    "gateway.portal.middleware.AttachGateway",
    "gateway.portal.middleware.CorsMiddleware",
    "gateway.portal.middleware.RequestMetrics",
    "gateway.portal.middleware.SecurityHeaders",
    "gateway.portal.middleware.CheckTarget",
    "gateway.portal.middleware.CurrentVersion",
    "chassis.static_files.KeepStaticFiles",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "gateway.portal.browsers.RefreshSession",
]
ROOT_URLCONF = "gateway_project.urls"
WSGI_APPLICATION = "gateway_project.wsgi.application"
APPEND_SLASH = False
LOGIN_FREE_TRIES = ENV.login_free_tries
LOGIN_FREE_TRIES_PER_ADDRESS = ENV.login_free_tries_per_address
LOGIN_LONGEST_WAIT = ENV.login_longest_wait
DATA_UPLOAD_MAX_MEMORY_SIZE = None

TEMPLATES = chassis.templates("gateway.portal.pages.header")
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "chassis.static_files.FingerprintStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# Seconds that a write waits for another one.
BUSY_TIMEOUT = 5
DATABASE_URL = ENV.gateway_database_url or ENV.database_url
# A session that ended must not come back with the power: FULL, which is the default.
SQLITE = database_settings.sqlite(STATE / "sessions.sqlite3", busy_timeout=BUSY_TIMEOUT)
DATABASES = database_settings.default(DATABASE_URL, SQLITE)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = ENV.redis_url
# In seconds.
REDIS_TIMEOUT = ENV.redis_timeout / 1000
USE_TZ = True
TIME_ZONE = "UTC"

REST_FRAMEWORK = chassis.REST_FRAMEWORK | {
    "DEFAULT_AUTHENTICATION_CLASSES": ["gateway.portal.drf.CallerAuthentication"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rest_framework.negotiation.DefaultContentNegotiation",
    "DEFAULT_PAGINATION_CLASS": None,
    "EXCEPTION_HANDLER": "gateway.portal.drf.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SIMPLE_JWT = {
    "ALGORITHM": "ES256",
    "ISSUER": ENV.token_issuer,
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=ENV.access_token_ttl),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=ENV.refresh_token_ttl),
    "USER_ID_CLAIM": "sub",
}
SPECTACULAR_SETTINGS = chassis.SPECTACULAR_SETTINGS | {
    "TITLE": "Gatehouse",
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "AUTHENTICATION_WHITELIST": [],
    "TAGS": [{"name": "session", "description": "Sign-in, tokens and sessions, by the gateway itself."}],
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "displayRequestDuration": True,
        "persistAuthorization": False,
        "defaultModelsExpandDepth": 0,
    },
}
LOGGING = logs.configuration(ENV.log_level)
