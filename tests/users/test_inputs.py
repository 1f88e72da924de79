"""Bodies that are no strict JSON, at the endpoints of the users; what each says is tested with the orders."""

import gzip
import json

import pytest

from .conftest import JSON, PASSWORD
from .test_api import assert_problem

PATHS = [
    ("POST", "/api/users"),
    ("PATCH", "/api/users/1"),
    ("PATCH", "/api/users/me"),
    ("POST", "/api/users/me/password"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_name_that_is_there_twice_is_400_and_nothing_changes(as_admin, everything, method, path):
    before = everything()
    response = as_admin(method, path, b'{"email": "a@example.com", "password": "x", "email": "b@example.com"}')
    assert_problem(response, 400, email="Expected this name once, got it 2 times.")
    assert everything() == before


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_another_charset_or_an_encoding_is_415_and_nothing_changes(as_admin, everything, method, path):
    before = everything()
    body = json.dumps({"full_name": "Ada", "old_password": PASSWORD, "new_password": "another horse 2"})
    assert_problem(as_admin(method, path, body, f"{JSON}; charset=utf-16"), 415)
    coded = {**as_admin.headers, "content-encoding": "gzip"}
    packed = gzip.compress(body.encode())
    assert_problem(as_admin.client.generic(method, path, packed, content_type=JSON, headers=coded), 415)
    assert everything() == before
