"""Problem documents."""

import json
from io import StringIO

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.management import call_command
from django.http import Http404
from django.test import RequestFactory
from rest_framework import exceptions
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from orders import problems

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "origin"}


@pytest.mark.parametrize(
    ("detail", "errors"),
    [
        ("wrong", {"non_field_errors": ["wrong"]}),
        (["a", "b"], {"non_field_errors": ["a", "b"]}),
        ({"item": ["a"]}, {"item": ["a"]}),
        ({"item": {"name": ["a"], "size": ["b"]}}, {"item.name": ["a"], "item.size": ["b"]}),
        ({"items": [{}, {"name": ["a"]}]}, {"items.1.name": ["a"]}),
    ],
)
def test_nested_errors_become_one_list_a_field(detail, errors):
    assert problems.flatten(detail) == errors


class Failing(APIView):
    """A view that raises what it is told to."""

    authentication_classes = ()
    permission_classes = ()
    error: Exception = Exception()

    def get(self, request):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (exceptions.ValidationError({"item": ["Expected a string."]}), 400, {"errors"}),
        (exceptions.ParseError(), 400, set()),
        (exceptions.NotAuthenticated(), 403, set()),
        (exceptions.Throttled(5), 429, set()),
        (exceptions.APIException({"detail": "nested"}), 500, set()),
        (Http404(), 404, set()),
        (PermissionDenied(), 403, set()),
        (problems.Conflict("taken", {"item": ["taken"]}), 409, {"errors"}),
        (problems.Conflict("taken"), 409, set()),
        (problems.Unavailable(), 503, set()),
    ],
)
def test_what_a_view_raises_becomes_a_problem(error, status, more):
    reply = Failing.as_view(error=error)(APIRequestFactory().get("/api/x")).render()
    assert reply.status_code == reply.data["status"] == status
    assert set(reply.data) == MEMBERS | more
    assert reply["Content-Type"] == "application/problem+json"
    assert reply.data["origin"] == "orders"


def test_what_nobody_expected_is_django_s_to_log():
    with pytest.raises(ZeroDivisionError):
        Failing.as_view(error=ZeroDivisionError())(APIRequestFactory().get("/api/x"))


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (lambda request: problems.bad_request(request, SuspiciousOperation()), 400),
        (lambda request: problems.forbidden(request, PermissionDenied()), 403),
        (lambda request: problems.not_found(request, Http404()), 404),
        (problems.server_error, 500),
    ],
)
def test_django_s_handlers_answer_problems(handler, status):
    reply = handler(RequestFactory().get("/x"))
    assert reply.status_code == status
    assert reply["Content-Type"] == "application/problem+json"


def test_the_openapi_document_is_valid_and_complete():
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=out)
    assert '"default"' in out.getvalue()
    assert "PagedOrder" in out.getvalue() or '"results"' in out.getvalue()


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (400, "Bad Request"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (415, "Unsupported Media Type"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (431, "Request Header Fields Too Large"),
        (507, "Insufficient Storage"),
    ],
)
def test_a_title_is_that_of_rfc_9110_whichever_python_runs_and_so_is_the_reason_phrase(status, title):
    refused = exceptions.APIException("detail")
    refused.status_code = status
    by_view = Failing.as_view(error=refused)(APIRequestFactory().get("/api/x")).render()
    by_middleware = problems.problem(RequestFactory().get("/x"), status, "detail")
    for reply in (by_view, by_middleware):
        assert (json.loads(reply.content)["title"], reply.status_code, reply.reason_phrase) == (title, status, title)
