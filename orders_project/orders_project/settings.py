"""Django's settings. What an operator may change comes from `environment`."""

import chassis
from chassis import database_settings, logs
from chassis.environment import state_directory
from orders_project import environment

ENV = environment.read()
GATEHOUSE = {"SERVICE": "orders", "JWKS_URL": ENV.jwks_url, "ISSUER": ENV.token_issuer}

DEBUG = False
SECRET_KEY = ENV.orders_secret_key
ALLOWED_HOSTS = ["*"]  # the gateway has checked the client's Host

INSTALLED_APPS = [
    "chassis.apps.AuthModels",
    "chassis.apps.ContentTypeModels",
    "chassis",
    "rest_framework",
    "drf_spectacular",
    "orders",
]
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
MIDDLEWARE = [*chassis.MIDDLEWARE, "django.middleware.http.ConditionalGetMiddleware"]
ROOT_URLCONF = "orders_project.urls"
WSGI_APPLICATION = "orders_project.wsgi.application"
APPEND_SLASH = False

STATE = state_directory(ENV.gatehouse_var, "orders")
DATABASE_URL = ENV.orders_database_url or ENV.database_url
DATABASES = database_settings.default(DATABASE_URL, database_settings.sqlite(STATE / "orders.sqlite3"))
USE_TZ = True
TIME_ZONE = "UTC"

REST_FRAMEWORK = chassis.REST_FRAMEWORK
SPECTACULAR_SETTINGS = chassis.SPECTACULAR_SETTINGS | {
    "TITLE": "Orders",
    "VERSION": "1",
    "DESCRIPTION": "Users see only their own orders.",
}
LOGGING = logs.configuration(ENV.log_level)
