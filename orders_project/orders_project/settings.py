"""Django's settings of the orders project. What an operator may change comes from `environment`."""

from orders import logs
from orders_project import environment, variables

ENV = environment.read()
SERVICE_NAME = "orders"

STATE = variables.state_directory(ENV.gatehouse_var, "orders")

DEBUG = False
SECRET_KEY = ENV.orders_secret_key
# The gateway has checked the client's Host and says it in X-Forwarded-Host; only the links of a list use it.
ALLOWED_HOSTS = ["*"]
USE_X_FORWARDED_HOST = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "orders.apps.AuthModels",
    "orders.apps.ContentTypeModels",
    "rest_framework",
    "drf_spectacular",
    "orders.apps.OrdersConfig",
]
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
MIDDLEWARE = ["orders.middleware.RequestLog", "orders.middleware.BodyLimit", "orders.middleware.PublicPath"]
ROOT_URLCONF = "orders_project.urls"
WSGI_APPLICATION = "orders_project.wsgi.application"
APPEND_SLASH = False
MAX_BODY = 1024 * 1024

# Seconds that a write waits for others; then it is 503.
BUSY_TIMEOUT = 5
# How many of a worker's threads may wait so long: the others are for reading.
PATIENT_WRITERS = environment.THREADS // 2
DATABASE_URL = ENV.orders_database_url or ENV.database_url
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": STATE / "orders.sqlite3",
    "CONN_MAX_AGE": None,
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": BUSY_TIMEOUT,
        # FULL: a commit is on disk before the answer goes out, in WAL mode too.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
    },
}
DATABASES = {"default": variables.postgresql(DATABASE_URL) if DATABASE_URL else SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["orders.passports.PassportAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["orders.inputs.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "orders.negotiation.Negotiation",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "orders.pages.OrderPages",
    "EXCEPTION_HANDLER": "orders.storage.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
}
SIMPLE_JWT = {
    "ALGORITHM": "ES256",
    "AUDIENCE": SERVICE_NAME,
    "ISSUER": ENV.token_issuer,
    "JWK_URL": ENV.jwks_url,
    # Seconds that the clocks of two machines may differ.
    "LEEWAY": 2,
    "USER_ID_CLAIM": "sub",
    "AUTH_TOKEN_CLASSES": ["orders.passports.Passport"],
    "TOKEN_USER_CLASS": "orders.passports.PassportUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Orders",
    "VERSION": "1",
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    # Passports are between the gateway and this service; the gateway says in its document how a client signs in.
    "AUTHENTICATION_WHITELIST": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "integer", "minimum": 1}},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "orders.problems.describe",
        "orders.schema.refuse_unknown",
    ],
}
LOGGING = logs.configuration(ENV.log_level)
