import logging
import time

import pytest
from django.contrib.auth.hashers import check_password

from chassis.problems import Conflict
from users import passwords, selectors, services
from users.models import User

from .conftest import PASSWORD, put
from .test_api import assert_problem

CREDENTIALS = "/internal/credentials"
ENDS = "/internal/session-ends"


@pytest.mark.parametrize("username", ["eva", "EVA"])
def test_the_right_password_gets_the_account(as_gateway, make, username):
    user = make("eva", user_type="admin")
    response = as_gateway("POST", CREDENTIALS, {"username": username, "password": PASSWORD})
    assert (response.status_code, response.json()) == (
        200,
        {"id": user.pk, "username": "eva", "role": "admin", "session_epoch": 0},
    )


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("eva", "wrong"), ("unknown", PASSWORD), ("inactive", PASSWORD), ("unusable", PASSWORD),
        ("eva", PASSWORD + "x" * 200), ("eva", PASSWORD + " "), (" eva", PASSWORD), ("x" * 5000, PASSWORD),
    ],
)  # fmt: skip
def test_every_failed_login_is_the_same_401(as_gateway, make, username, password):
    make("eva")
    make("inactive", is_active=False)
    put(User(username="unusable", email="u@example.com", password="!"))
    response = as_gateway("POST", CREDENTIALS, {"username": username, "password": password})
    assert_problem(response, 401)
    assert response.json()["detail"] == "Wrong username or password."


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"username": "eva"}, {"password": "This field is required"}),
        ({"username": 5, "password": "x"}, {"username": "Expected a string"}),
        ({"username": "eva", "password": "\ud800"}, {"password": ""}),
        ({"username": "eva", "password": "x", "otp": "1"}, {"otp": "Unknown field"}),
    ],
)
def test_bad_credentials_bodies_are_400(as_gateway, make, body, errors):
    make("eva")
    assert_problem(as_gateway("POST", CREDENTIALS, body), 400, **errors)


def test_every_failed_login_takes_the_same_time(make, settings):
    """The processor's time of this thread, most of it for the hash; the least of several, which noise spares."""
    settings.ARGON2 = {"memory_kib": 8192, "time": 2}
    make("eva")
    make("inactive", is_active=False)
    cases = {
        "password": ("eva", "wrong"),
        "username": ("unknown", "wrong"),
        "inactive": ("inactive", PASSWORD),
        "long": ("eva", "x" * 100_000),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(9):
        for name, (username, password) in cases.items():
            started = time.thread_time()
            assert services.credentials_check(username=username, password=password) is None
            times[name].append(time.thread_time() - started)
    least = {name: min(values) for name, values in times.items()}
    assert max(least.values()) < 1.4 * min(least.values()), least


def test_a_login_hashes_again_with_new_parameters_and_ends_no_session(as_gateway, make, settings):
    make("eva")
    settings.ARGON2 = {"memory_kib": 16, "time": 1}
    for _ in range(2):
        assert as_gateway("POST", CREDENTIALS, {"username": "eva", "password": PASSWORD}).status_code == 200
    after = User.objects.get()
    assert "m=16," in after.password
    assert check_password(PASSWORD, after.password)
    assert (after.session_epoch, after.session_end) == (0, 0)


def test_a_hash_changed_since_the_login_is_not_replaced(make):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=0, password="another horse 2")
    services._rehash(user, PASSWORD)
    assert check_password("another horse 2", User.objects.get().password)


def test_a_concurrent_password_change_is_a_conflict(make, monkeypatch):
    user = make("eva")
    check = passwords.check

    def and_meanwhile(asked: User, password: str) -> tuple[bool, bool]:
        services.user_update(user_id=user.pk, actor=0, password="another horse 2")
        return check(asked, password)

    monkeypatch.setattr(passwords, "check", and_meanwhile)
    with pytest.raises(Conflict):
        services.password_change(user_id=user.pk, old_password=PASSWORD, new_password="third horse 3", session="s")
    assert check_password("another horse 2", User.objects.get().password)


def test_an_account_is_there_while_its_user_is_active(as_gateway, make, admin):
    user = make("eva")
    path = f"/internal/users/{user.pk}"
    assert as_gateway("GET", path).json() == {"id": user.pk, "username": "eva", "role": "default", "session_epoch": 0}
    services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)
    assert_problem(as_gateway("GET", path), 404)
    services.user_delete(user_id=user.pk, actor=admin.pk)
    assert_problem(as_gateway("GET", path), 404)


def ends(as_gateway, after: str | None = None) -> tuple[list[dict], str]:
    response = as_gateway("GET", ENDS if after is None else f"{ENDS}?after={after}")
    assert response.status_code == 200, response.content
    return response.json()["ends"], response.json()["cursor"]


def test_ended_sessions_are_listed_in_order_after_a_cursor(as_gateway, make, admin):
    eva, ada = make("eva"), make("ada")
    assert ends(as_gateway)[0] == []
    cursor = ends(as_gateway)[1]
    services.user_update(user_id=eva.pk, actor=admin.pk, user_type="admin")
    services.password_change(user_id=ada.pk, old_password=PASSWORD, new_password="another horse 2", session="s-1")
    first = {"user_id": eva.pk, "session_epoch": 1, "kept_session": None, "deleted": False}
    second = {"user_id": ada.pk, "session_epoch": 1, "kept_session": "s-1", "deleted": False}
    assert ends(as_gateway, cursor)[0] == [first, second]
    cursor = ends(as_gateway, cursor)[1]
    assert ends(as_gateway, cursor) == ([], cursor)
    services.user_delete(user_id=eva.pk, actor=admin.pk)
    third = {"user_id": eva.pk, "session_epoch": 2, "kept_session": None, "deleted": True}
    assert ends(as_gateway, cursor)[0] == [third]
    assert ends(as_gateway)[0] == [second, third]


def test_ended_sessions_are_listed_in_pages(make, admin):
    for number in range(5):
        user = make(f"user{number}")
        services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)
        if number % 2:
            services.user_delete(user_id=user.pk, actor=admin.pk)
    told, cursor = [], ""
    while page := selectors.session_ends(after=cursor, limit=2).ends:
        assert len(page) <= 2
        told += [entry.pk for entry in page]
        cursor = selectors.session_ends(after=cursor, limit=2).cursor
    assert told == [2, 3, 4, 5, 6]


@pytest.mark.record
def test_a_cursor_of_an_older_copy_means_that_all_sessions_end(as_gateway, make, admin, record):
    user = make("eva")
    saved = record.read_bytes()
    services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)
    cursor = ends(as_gateway)[1]
    record.write_bytes(saved)
    response = as_gateway("GET", f"{ENDS}?after={cursor}").json()
    assert (response["ends"], response["all_ended"]) == ([], True)
    assert as_gateway("GET", f"{ENDS}?after={response['cursor']}").json() == response | {"all_ended": False}


def test_a_cursor_ahead_of_every_end_begins_again(as_gateway, make, admin):
    """The gateway has one after a database was restored from an older dump, with its generation."""
    services.user_update(user_id=make("eva").pk, actor=admin.pk, is_active=False)
    told, cursor = ends(as_gateway)
    generation, seq, user_id = cursor.split(".")
    assert ends(as_gateway, f"{generation}.{int(seq) + 1}.{user_id}") == (told, cursor)
    assert len(told) == 1


@pytest.mark.parametrize("after", ["x", "1", "1.2", "a.1.1.1", "g.1.1", "a.-1.1", "a.1." + "9" * 19, "%00", ".١.1"])
def test_an_invalid_cursor_is_400(as_gateway, after):
    assert_problem(as_gateway("GET", f"{ENDS}?after={after}"), 400, after="Expected a cursor")


@pytest.mark.parametrize("query", ["since=1", "after=&after="])
def test_session_ends_take_no_other_parameter(as_gateway, query):
    assert_problem(as_gateway("GET", f"{ENDS}?{query}"), 400, **{query.partition("=")[0]: ""})


def test_what_the_gateway_asks_all_the_time_is_logged_at_debug_unless_it_fails(as_gateway, caplog):
    with caplog.at_level(logging.DEBUG, "access"):
        assert as_gateway("GET", ENDS).status_code == 200
        assert as_gateway("GET", f"{ENDS}?after=strange").status_code == 400
        assert as_gateway("POST", ENDS).status_code == 405
        assert as_gateway("GET", "/internal/users/999").status_code == 404
    lines = [(line.levelname, line.getMessage()) for line in caplog.records if line.name == "access"]
    assert lines == [
        ("DEBUG", f"GET {ENDS} 200"),
        ("INFO", f"GET {ENDS} 400"),
        ("INFO", f"POST {ENDS} 405"),
        ("INFO", "GET /internal/users/999 404"),
    ]
