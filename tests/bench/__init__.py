"""The benchmark. It makes keys and tokens as the gateway does, whose modules need Django."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup()
