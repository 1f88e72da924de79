"""Django's settings of the users project. What an operator may change comes from `environment`."""

import chassis
from chassis import database_settings, logs
from chassis.environment import state_directory
from users_project import environment

ENV = environment.read()
GATEHOUSE = {
    "SERVICE": "users",
    "JWKS_URL": ENV.jwks_url,
    "ISSUER": ENV.token_issuer,
    # Each worker of the gateway asks twice a second, day and night.
    "POLLED_PATHS": ["/internal/session-ends"],
}

STATE = state_directory(ENV.gatehouse_var, "users")
DATABASE_URL = ENV.users_database_url or ENV.database_url
RECORD = None if DATABASE_URL else STATE / "users.jsonl"

DEBUG = False
SECRET_KEY = ENV.users_secret_key
# The gateway checks the client's Host and sends it as X-Forwarded-Host; only the links of a list use it.
ALLOWED_HOSTS = ["*"]
USE_X_FORWARDED_HOST = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 365 * 24 * 3600

INSTALLED_APPS = [
    "users.apps.UsersConfig",
    "chassis",  # before the admin, whose look it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # Outside of the rest, so that it sees every problem.
    "users.admin.access.AdminPagesMiddleware",
    *chassis.MIDDLEWARE[:-1],
    "chassis.static_files.KeepStaticFiles",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "users.middleware.ChangedUsersMiddleware",
    "users.middleware.CatchUpMiddleware",
    chassis.MIDDLEWARE[-1],  # /healthz needs a store that can be read
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "users.admin.access.PassportAdminMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
]
ROOT_URLCONF = "users_project.urls"
WSGI_APPLICATION = "users_project.wsgi.application"
APPEND_SLASH = False

# The record is what is durable; what a power cut takes from the index is read from there again.
INDEX = database_settings.sqlite(STATE / "index.sqlite3", synchronous="NORMAL")
DATABASES = database_settings.default(DATABASE_URL, INDEX)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"

AUTH_USER_MODEL = "users.User"
# The username is unique in any case, by a constraint on an expression. That check looks for a unique field.
SILENCED_SYSTEM_CHECKS = ["auth.E003"]
PASSWORD_HASHERS = [
    "users.passwords.Argon2idHasher",
    "users.passwords.ImportedBcryptHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "users.passwords.ImportedScryptHasher",
]
ARGON2 = {"memory_kib": ENV.argon2_memory_kib, "time": ENV.argon2_time}
_RULES, _NAMES = "django.contrib.auth.password_validation", ("username", "full_name", "email")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_RULES}.UserAttributeSimilarityValidator", "OPTIONS": {"user_attributes": _NAMES}},
    {"NAME": f"{_RULES}.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": f"{_RULES}.CommonPasswordValidator"},
    {"NAME": f"{_RULES}.NumericPasswordValidator"},
]

# For the admin's messages on the next page alone, not for identity. Nothing is stored: the index may be deleted
# at any time.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_NAME = "users_admin_session"
SESSION_COOKIE_PATH = "/admin/"
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_COOKIE_NAME = "users_admin_csrf"
CSRF_COOKIE_PATH = "/admin/"
CSRF_COOKIE_HTTPONLY = True
TEMPLATES = chassis.templates(
    "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"
)
STATIC_URL = "/admin/static/"
STORAGES = {"staticfiles": {"BACKEND": "chassis.static_files.FingerprintStorage"}}
# Served from where the packages are installed: there is nothing to collect before a start.
WHITENOISE_USE_FINDERS = True

REST_FRAMEWORK = chassis.REST_FRAMEWORK
SPECTACULAR_SETTINGS = chassis.SPECTACULAR_SETTINGS | {
    "TITLE": "Users",
    "VERSION": "1",
    "DESCRIPTION": "Admins manage all users; every user has their own profile under `me`.",
}
LOGGING = logs.configuration(ENV.log_level)
