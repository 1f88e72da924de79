"""Problem documents."""

import json
import re
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from chassis import problems
from chassis.databases import OutcomeUnknown, StorageFull
from chassis.etags import PreconditionFailed
from chassis.statuses import code_of_status

MEMBERS = {"type", "title", "status", "code", "detail", "instance", "request_id", "origin"}


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
    """A view that raises its `error`."""

    authentication_classes = ()
    permission_classes = ()
    error: Exception = Exception()

    def get(self, request):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code", "more"),
    [
        (exceptions.ValidationError({"item": ["Expected a string."]}), 400, "validation_failed", {"errors"}),
        (exceptions.ParseError(), 400, "malformed_body", set()),
        (exceptions.NotAuthenticated(), 403, "not_authenticated", set()),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed", set()),
        (exceptions.NotAcceptable(), 406, "not_acceptable", set()),
        (exceptions.UnsupportedMediaType("x/y"), 415, "unsupported_media_type", set()),
        (exceptions.Throttled(5), 429, "rate_limited", set()),
        (exceptions.APIException(), 500, "internal_error", set()),
        (exceptions.APIException({"detail": "nested", "code": "special"}), 500, "special", set()),
        (Http404(), 404, "not_found", set()),
        (PermissionDenied(), 403, "permission_denied", set()),
        (exceptions.PermissionDenied("no", code="too_late"), 403, "too_late", set()),
        (problems.Conflict("taken", {"item": ["taken"]}), 409, "conflict", {"errors"}),
        (problems.Conflict("taken", code="sold_out"), 409, "sold_out", set()),
        (problems.Unavailable(), 503, "unavailable", set()),
        (PreconditionFailed(), 412, "precondition_failed", set()),
        (StorageFull(), 507, "storage_full", set()),
        (OutcomeUnknown(), 503, "outcome_unknown", set()),
    ],
)
def test_what_a_view_raises_becomes_a_problem(error, status, code, more):
    reply = Failing.as_view(error=error)(APIRequestFactory().get("/api/x")).render()
    assert reply.status_code == reply.data["status"] == status
    assert set(reply.data) == MEMBERS | more
    assert reply["Content-Type"] == "application/problem+json"
    assert (reply.data["origin"], reply.data["code"]) == ("shop", code)
    wait = getattr(error, "wait", None)
    assert reply.get("Retry-After") == (str(wait) if wait else None)


def test_an_unexpected_exception_is_logged_by_django():
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
def test_django_s_handlers_return_problems(handler, status):
    reply = handler(RequestFactory().get("/x"))
    assert reply.status_code == status
    assert reply["Content-Type"] == "application/problem+json"


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


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/nothing", "get", 404, "not_found"),
        ("/missing", "get", 404, "not_found"),
        ("/fail", "get", 500, "internal_error"),
        ("/form", "post", 403, "permission_denied"),
        ("/books", "post", 500, "internal_error"),  # CommonMiddleware cannot redirect a POST while DEBUG is on
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_django_s_own_html_errors_are_problems_to_a_program_and_pages_to_a_browser(
    settings, path, method, status, code, debug
):
    settings.DEBUG = debug
    if path == "/books" and not debug:
        return
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    reply = getattr(client, method)(path, headers={"accept": "*/*"})
    assert (reply.status_code, reply["Content-Type"]) == (status, "application/problem+json"), reply.content
    assert (reply.json()["code"], reply.json()["instance"]) == (code, path)
    assert reply.json()["request_id"] == reply["X-Request-ID"]
    page = getattr(client, method)(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page["Content-Type"].partition(";")[0]) == (status, "text/html")


@pytest.mark.django_db
def test_who_accepts_problems_alone_gets_json(user):
    assert user(1).get("/books/", accept="application/problem+json").status_code == 200
    assert user(1).get("/books/", accept="image/png").status_code == 406


def test_a_problem_outside_of_drf_s_views_has_the_exception_s_headers_and_code():
    reply = problems.problem_of(RequestFactory().get("/x"), StorageFull())
    assert (reply.status_code, reply["Retry-After"], json.loads(reply.content)["code"]) == (507, "60", "storage_full")


def test_every_code_is_in_the_documents():
    table = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()
    known = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))
    raised = {
        problem.default_code for problem in all_of(exceptions.APIException) if problem.__module__.startswith("chassis")
    }
    source = "".join(path.read_text() for path in Path(problems.__file__).parent.glob("[!v]*.py"))
    assert raised | set(re.findall(r'code="([a-z_]+)"', source)) <= known
    of_status = {code_of_status(status) for status in (400, 401, 404, 405, 411, 413, 415, 500)}
    assert of_status <= known


def all_of(kind):
    return {found for sub in kind.__subclasses__() for found in {sub, *all_of(sub)}}
