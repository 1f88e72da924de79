"""/healthz and /openapi.json, which no URL of the project names."""

import pytest
from django.db import connection
from django.test import Client
from drf_spectacular.validation import validate_schema

from chassis import openapi
from chassis.conf import options


@pytest.fixture
def configure(settings):
    """Set options of GATEHOUSE for this test."""

    def configure(**changed):
        settings.GATEHOUSE = settings.GATEHOUSE | changed

    yield configure
    options.cache_clear()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_service_is_ready_while_its_database_responds(path):
    reply = Client().get(path)
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "service": "shop"})
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO elsewhere")
    reply = Client().get(path)
    assert (reply.status_code, reply["Retry-After"], reply.json()["code"]) == (503, "1", "database_unavailable")


def test_a_service_lives_whatever_its_database_does():
    # Without the mark, any use of the database raises.
    reply = Client().get("/livez")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "service": "shop"})


def test_a_service_without_a_database_is_healthy(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.dummy")
    assert Client().get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/openapi.json"])
def test_an_endpoint_takes_get_and_head_only(path):
    reply = Client().post(path)
    assert (reply.status_code, reply["Allow"], reply.json()["code"]) == (405, "GET, HEAD", "method_not_allowed")


@pytest.mark.django_db
def test_an_endpoint_has_another_path_or_none(configure):
    configure(HEALTH_PATH="/alive", OPENAPI_PATH="")
    assert Client().get("/alive").status_code == 200
    assert Client().get("/healthz").status_code == Client().get("/openapi.json").status_code == 404


def test_the_openapi_document_is_valid_and_describes_the_service_s_requirements():
    reply = Client().get("/openapi.json")
    document = reply.json()
    validate_schema(document)
    assert document["info"] == {"title": "shop", "version": "1"}
    assert {"/books/", "/books/{id}/", "/sales"} <= set(document["paths"])
    assert document["paths"]["/books/{id}/"]["delete"]["security"] == [{"passport": []}]
    assert document["components"]["securitySchemes"]["passport"]["scheme"] == "bearer"
    listed = document["paths"]["/books/"]["get"]
    assert {parameter["name"] for parameter in listed["parameters"]} == {"cursor", "limit"}
    assert listed["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {
        "type", "title", "status", "code", "detail", "instance", "request_id", "origin"
    }  # fmt: skip


def test_the_project_s_own_spectacular_settings_win(settings):
    settings.SPECTACULAR_SETTINGS = {"TITLE": "The shop"}
    openapi._document.cache_clear()
    try:
        assert Client().get("/openapi.json").json()["info"] == {"title": "The shop", "version": "1"}
    finally:
        openapi._document.cache_clear()
