"""Static files that browsers keep by the digest in their URL."""

from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

import chassis
from chassis.static_files import YEAR, FingerprintStorage, KeepStaticFiles

LOOK = "chassis/look.css"


@pytest.fixture(autouse=True)
def static_url(settings):
    settings.STATIC_URL = "/static/"


def cache_control(url: str, status: int = 200) -> str | None:
    keep = KeepStaticFiles(lambda request: HttpResponse(status=status))
    return keep(RequestFactory().get(url)).headers.get("Cache-Control")


def test_the_url_of_a_file_has_a_digest_and_that_of_no_file_has_none():
    storage = FingerprintStorage()
    url, _, digest = storage.url(LOOK).partition("?v=")
    assert (url, len(digest)) == (f"/static/{LOOK}", 12)
    assert int(digest, 16) >= 0
    assert digest != storage.url("chassis/admin.css").partition("?v=")[2]
    assert storage.url("chassis/missing.css") == "/static/chassis/missing.css"
    assert storage.url("chassis") == "/static/chassis"
    assert (Path(chassis.__file__).parent / "static" / LOOK).is_file()


@pytest.mark.parametrize("status", [200, 304])
def test_a_file_at_the_url_of_its_digest_is_kept_for_a_year(status):
    assert cache_control(FingerprintStorage().url(LOOK), status) == f"max-age={YEAR}, public, immutable"


def test_the_file_of_another_version_is_not_kept():
    assert cache_control(f"/static/{LOOK}?v=0123456789ab") == "no-store"


@pytest.mark.parametrize(
    ("url", "status"), [(f"/static/{LOOK}", 200), ("/static/missing?v=1", 404), ("/sales?v=1", 200)]
)
def test_other_responses_are_left_alone(url, status):
    assert cache_control(url, status) is None
