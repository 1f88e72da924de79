"""Django's settings of the orders project. What an operator may change comes from `environment`."""

import chassis
from chassis import databases, logs
from chassis.environment import state_directory
from orders_project import environment

ENV = environment.read()
GATEHOUSE = {"SERVICE": "orders", "JWKS_URL": ENV.jwks_url, "ISSUER": ENV.token_issuer}

STATE = state_directory(ENV.gatehouse_var, "orders")

DEBUG = False
SECRET_KEY = ENV.orders_secret_key
# The gateway has checked the client's Host and says it in X-Forwarded-Host; only the links of a list use it.
ALLOWED_HOSTS = ["*"]
USE_X_FORWARDED_HOST = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "chassis.apps.AuthModels",
    "chassis.apps.ContentTypeModels",
    "chassis",
    "rest_framework",
    "drf_spectacular",
    "orders.apps.OrdersConfig",
]
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
MIDDLEWARE = chassis.MIDDLEWARE
ROOT_URLCONF = "orders_project.urls"
WSGI_APPLICATION = "orders_project.wsgi.application"
APPEND_SLASH = False

# Seconds that a write waits for others; then it is 503.
BUSY_TIMEOUT = 5
# How many of a worker's threads may wait so long: the others are for reading.
PATIENT_WRITERS = environment.THREADS // 2
DATABASE_URL = ENV.orders_database_url or ENV.database_url
SQLITE = databases.sqlite(STATE / "orders.sqlite3", busy_timeout=BUSY_TIMEOUT)
DATABASES = {"default": databases.postgresql(DATABASE_URL) if DATABASE_URL else SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

REST_FRAMEWORK = chassis.REST_FRAMEWORK
SPECTACULAR_SETTINGS = chassis.SPECTACULAR_SETTINGS | {
    "TITLE": "Orders",
    "VERSION": "1",
    "DESCRIPTION": "Users see only their own orders.",
}
LOGGING = logs.configuration(ENV.log_level)
