"""What a service takes from the chassis in its own files: gunicorn's settings, filters of lists, headers of pages."""

import threading

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chassis import databases, gunicorn, parameters, security
from chassis.queries import filters_from


class Filters(serializers.Serializer):
    status = serializers.ChoiceField(["placed", "cancelled"], required=False)


def listed(query: str) -> dict[str, object]:
    return filters_from(Request(APIRequestFactory().get(f"/orders{query}")), Filters)


def test_filters_are_those_of_the_serializer_beside_the_parameters_of_paging():
    assert listed("") == listed("?limit=5&cursor=x") == {}
    assert listed("?status=placed&limit=5") == {"status": "placed"}


@pytest.mark.parametrize("query", ["?status=lost", "?state=placed", "?status=placed&status=placed"])
def test_a_bad_unknown_or_repeated_filter_is_an_error(query):
    with pytest.raises(ValidationError):
        listed(query)


def test_gunicorn_keeps_connections_for_longer_than_the_gateway_and_writes_no_second_access_log():
    assert all(hasattr(gunicorn, name) for name in gunicorn.__all__)
    # The gateway closes an idle connection after 4 s.
    assert gunicorn.keepalive > 4
    assert gunicorn.logger_class.access_log_enabled is False


def test_a_page_loads_nothing_from_other_hosts():
    assert "default-src 'none'" in security.PAGE_POLICY
    assert "http" not in security.PAGE_POLICY
    assert security.HEADERS["X-Content-Type-Options"] == "nosniff"


def test_conditional_headers_are_described():
    assert {parameters.IF_MATCH.name, parameters.IF_NONE_MATCH.name} == {"If-Match", "If-None-Match"}


@pytest.mark.django_db
def test_a_database_that_cannot_be_opened_yet_is_waited_for_and_reported_once(tmp_path):
    place = tmp_path / "later"
    later = DatabaseWrapper(connection.settings_dict | {"NAME": str(place / "db.sqlite3")}, alias="later")
    reports: list[str] = []

    def report(text: str) -> None:
        reports.append(text)
        threading.Timer(0.2, place.mkdir).start()

    databases.wait_for(later, report)
    later.close()
    assert len(reports) == 1
    assert "unable to open database file" in reports[0]


@pytest.mark.django_db
def test_migrate_waits_only_if_it_must(capsys):
    call_command("migrate", wait=True, verbosity=0)
    assert capsys.readouterr().err == ""
