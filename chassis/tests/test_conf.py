"""GATEHOUSE, and what `manage.py check` reports of it and of the settings beside it."""

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from chassis import conf


@pytest.fixture(autouse=True)
def forget():
    yield
    conf.options.cache_clear()


def found(kind: str = "chassis.") -> dict[str, str]:
    """Return the hints of the chassis' checks, by id."""
    return {check.id: check.hint for check in run_checks() if str(check.id).startswith(kind)}


def test_the_four_lines_have_no_faults():
    assert found() == {}


@pytest.mark.parametrize(
    ("value", "number", "hint"),
    [
        (None, 1, "Set GATEHOUSE ="),
        ([], 1, "Set GATEHOUSE ="),
        ({}, 3, "Set SERVICE to"),
        ({"SERVICE": "shop", "GATWAY": "x"}, 2, "Write GATEWAY."),
        ({"SERVICE": "shop", "gateway": "x"}, 2, "Write GATEWAY."),
        ({"SERVICE": "shop", "COLOUR": "x"}, 2, "The options are SERVICE, GATEWAY"),
        ({"SERVICE": "shop", 5: "x"}, 2, "Remove it."),
        ({"SERVICE": 5}, 4, "the service's name in gateway.yaml"),
        ({"SERVICE": "shop", "LEEWAY": "2"}, 4, "whole number"),
        ({"SERVICE": "shop", "LEEWAY": True}, 4, "whole number"),
        ({"SERVICE": "shop", "POLLED_PATHS": "/x"}, 4, "list of paths"),
        ({"SERVICE": "The shop"}, 4, "the service's name in gateway.yaml"),
        ({"SERVICE": "shop", "GATEWAY": "localhost:8001"}, 4, "Use an http:// or https:// URL"),
        ({"SERVICE": "shop", "GATEWAY": "http://[::1"}, 4, "Use an http:// or https:// URL"),
        ({"SERVICE": "shop", "JWKS_URL": "file:///keys"}, 4, "Use an http:// or https:// URL"),
        ({"SERVICE": "shop", "HEALTH_PATH": "healthz"}, 4, "Begin it with /"),
        ({"SERVICE": "shop", "MAX_BODY": -1}, 4, "not negative"),
        ({"SERVICE": "shop", "PASSPORT_HEADER": "X-Passport"}, 4, "Use Authorization or X-Gatehouse-Passport"),
        ({"SERVICE": "shop", "LOG_LEVEL": "LOUD"}, 4, "Use one of DEBUG, INFO"),
    ],
)
def test_a_bad_option_is_named_with_what_to_do(settings, value, number, hint):
    settings.GATEHOUSE = value
    reported = found()
    assert set(reported) == {f"chassis.E{number:03}"}
    assert hint in reported[f"chassis.E{number:03}"]
    with pytest.raises(ImproperlyConfigured, match="GATEHOUSE"):
        conf.options()


def test_every_bad_option_is_named_at_once(settings):
    settings.GATEHOUSE = {"SERVICE": "The shop", "LEEWAY": -1, "COLOUR": "red"}
    with pytest.raises(ImproperlyConfigured, match=r"COLOUR.*SERVICE.*LEEWAY"):
        conf.options()


def test_what_the_settings_lack_is_named(settings):
    settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
    settings.REST_FRAMEWORK = {}
    assert "chassis.MIDDLEWARE" in found()["chassis.W001"]
    assert "chassis.REST_FRAMEWORK" in found()["chassis.W002"]
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "rest_framework"]
    assert "rest_framework" in found()["chassis.E020"]


def test_the_keys_are_at_the_gateway_unless_their_url_is_given(settings):
    settings.GATEHOUSE = {"SERVICE": "shop", "GATEWAY": "https://gate/"}
    assert conf.options().keys_url == "https://gate/.well-known/jwks.json"
    settings.GATEHOUSE = {"SERVICE": "shop", "JWKS_URL": "https://keys/"}
    assert conf.options().keys_url == "https://keys/"


def test_every_option_is_in_the_documents_with_its_default():
    table = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", table, re.MULTILINE))
    assert set(documented) == set(conf.KNOWN)
    defaults = conf.Options(service="x")
    for name, text in documented.items():
        default = getattr(defaults, name.lower())
        assert name == "SERVICE" or not default or f"`{default}`" in text, name
