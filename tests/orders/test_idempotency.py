"""`Idempotency-Key`: the same request sent again gets the first response, also at the same time and after a crash."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path

import pytest
from django.db import IntegrityError
from django.utils import timezone
from tests.orders.serving import Service, ask, write_lock
from tests.shares import share

from orders.models import Order, StoredResponse

BOOK = {"item": "book", "address": "Main street 1"}
SAME = ("Location", "ETag", "Content-Type")


def place(api, key: str, body: object = BOOK):
    return api.post("/api/orders", body, HTTP_IDEMPOTENCY_KEY=key)


def told(answer) -> tuple:
    return answer.status_code, answer.content, *(answer[name] for name in SAME)


@pytest.mark.django_db
class TestOneKey:
    def test_the_same_request_again_gets_the_first_response(self, user):
        first = place(user(7), "a-key")
        assert first.status_code == 201
        assert told(place(user(7), "a-key")) == told(first)
        assert Order._base_manager.count() == 1

    def test_the_first_response_is_sent_again_after_the_order_has_changed(self, user):
        first = place(user(7), "a-key")
        user(7).post(f"{first['Location']}/cancel")
        assert told(place(user(7), "a-key")) == told(first)
        assert Order._base_manager.get().status == "cancelled"

    def test_without_a_key_each_request_places_an_order(self, user):
        assert user(7).post("/api/orders", BOOK).json() != user(7).post("/api/orders", BOOK).json()
        assert (Order._base_manager.count(), StoredResponse.objects.count()) == (2, 0)

    def test_another_key_places_another_order(self, user):
        assert place(user(7), "a-key")["Location"] != place(user(7), "b-key")["Location"]

    def test_another_users_key_is_another_key(self, user):
        assert place(user(7), "a-key")["Location"] != place(user(8), "a-key")["Location"]
        assert place(user(8), "a-key").json()["created_by"] == 8

    @pytest.mark.parametrize("body", [BOOK | {"item": "pen"}, BOOK | {"quantity": 2}, BOOK | {"address": "x"}])
    def test_the_same_key_with_another_body_is_422(self, user, body):
        first = place(user(7), "a-key")
        refused = place(user(7), "a-key", body)
        assert (refused.status_code, refused["Content-Type"]) == (422, "application/problem+json")
        assert "Idempotency-Key" in refused.json()["detail"]
        assert told(place(user(7), "a-key")) == told(first)
        assert Order._base_manager.count() == 1

    @pytest.mark.parametrize(
        "body", [BOOK | {"quantity": 1}, dict(reversed(BOOK.items())), json.dumps(BOOK, indent=4)], ids=repr
    )
    def test_a_body_with_the_same_meaning_is_the_same(self, user, body):
        assert told(place(user(7), "a-key")) == told(place(user(7), "a-key", body))

    def test_an_invalid_body_does_not_use_up_the_key(self, user):
        assert place(user(7), "a-key", {"item": "book"}).status_code == 400
        assert place(user(7), "a-key").status_code == 201

    def test_a_response_is_stored_for_a_day(self, user):
        first = place(user(7), "a-key")
        age("a-key", timedelta(hours=23, minutes=59))
        assert told(place(user(7), "a-key")) == told(first)
        age("a-key", timedelta(hours=24, seconds=1))
        second = place(user(7), "a-key", BOOK | {"item": "pen"})
        assert (second.status_code, second.json()["item"]) == (201, "pen")
        assert StoredResponse.objects.count() == 1

    def test_an_expired_response_behind_many_others_is_not_sent_again(self, user):
        for number in range(12):
            place(user(8), f"key-{number}")
        first = place(user(7), "a-key")
        age("a-key", timedelta(hours=25))
        assert place(user(7), "a-key")["Location"] != first["Location"]

    def test_expired_responses_are_deleted_as_new_ones_are_stored(self, user):
        for number in range(25):
            place(user(number + 1), f"key-{number}")
        StoredResponse.objects.update(created_at=timezone.now() - timedelta(days=2))
        counts = []
        for number in range(4):
            place(user(7), f"new-{number}")
            counts.append(StoredResponse.objects.count())
        assert counts == [16, 7, 3, 4]
        assert Order._base_manager.count() == 29

    def test_the_database_stores_one_response_for_a_key(self, user):
        place(user(7), "a-key")
        with pytest.raises(IntegrityError):
            StoredResponse.objects.create(owner=7, key="a-key", fingerprint="x", status=201, location="/", body="{}")


def age(key: str, by: timedelta) -> None:
    assert StoredResponse.objects.filter(key=key).update(created_at=timezone.now() - by)


GOOD_KEYS = [
    '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
    "8e03978e-40d5-43e8-bc93-6894a57f9324",
    '"with a space"',
    "a",
    "!#$%&'()*+-./:;<=>?@[]^_`{|}~",
    "k" * 255,
    '"' + "k" * 255 + '"',
]
BAD_KEYS = ["", " ", '""', '"', '"a', 'a"', "a b", "a,b", '"a","b"', '"a,b"', '"a";p=1', r'"\a"', r'"a \"b\""',
            "ä", '"ä"', "a\x00b", "a\tb", "k" * 256, '"' + "k" * 256 + '"']  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("header", GOOD_KEYS, ids=lambda value: value[:20])
def test_a_key_is_printable_ascii_with_or_without_quotes(user, header):
    assert place(user(7), header).status_code == 201
    assert StoredResponse.objects.get().key == header.strip('"')


@pytest.mark.django_db
@pytest.mark.parametrize("header", BAD_KEYS, ids=lambda value: repr(value)[:20])
def test_a_malformed_key_is_400(user, header):
    answer = place(user(7), header)
    assert answer.status_code == 400, answer.content
    assert set(answer.json()["errors"]) == {"Idempotency-Key"}
    assert (Order._base_manager.count(), StoredResponse.objects.count()) == (0, 0)


def test_requests_with_one_key_at_the_same_time_get_one_response(serve):
    """They all wait for the write lock before any of them has stored its response."""
    key = {"Idempotency-Key": "a-key"}
    with serve(2) as service, ThreadPoolExecutor(6) as threads:
        with write_lock(service):
            waiting = [threads.submit(service.ask, "POST", "/api/orders", BOOK, **key) for _ in range(3)]
            # By now they wait: their workers have answered this many requests since.
            assert {service.ask("GET", "/api/orders").status for _ in range(100)} == {200}
        answers = {(answer.status, answer.body) for answer in (each.result() for each in waiting)}
        assert [status for status, _ in answers] == [201]
        assert service.items() == ["book"]


def test_a_response_that_cannot_be_stored_leaves_no_order(issuer, tmp_path):
    service = Service(issuer, tmp_path, workers=1)

    def rename(old: str, new: str) -> None:
        service.execute(f"ALTER TABLE orders_storedresponse RENAME COLUMN {old} TO {new}")

    rename("body", "other")
    try:
        with service:
            failed = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
            assert failed.status == 500
            assert service.items() == []
    finally:
        rename("other", "body")


@pytest.fixture
def serve(issuer, tmp_path):
    return lambda workers: Service(issuer, tmp_path, workers=workers)


def test_a_stored_response_survives_a_restart(serve):
    with serve(1) as service:
        first = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
        service.kill()
        service.start()
        again = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
    assert first.status == again.status == 201
    assert first.body == again.body
    assert [first.headers[name] for name in SAME] == [again.headers[name] for name in SAME]


def test_a_stored_response_is_sent_while_the_database_is_locked(serve):
    with serve(1) as service:
        first = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
        with write_lock(service):
            again = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
    assert (again.status, again.body) == (first.status, first.body)
    assert again.status == 201


@pytest.mark.parametrize(("processes", "keys"), [(4, 50), pytest.param(8, 100, marks=pytest.mark.long)])
def test_processes_with_the_same_keys_place_one_order_for_each(processes, keys, serve):
    with serve(3) as service:
        passport = service.issuer.passport(7, audience="orders")
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "tests.orders.placing", str(service.port), "7", passport]
        clients = [
            subprocess.Popen([*command, str(seed), str(keys)], cwd=root, stdout=subprocess.PIPE, text=True)
            for seed in range(processes)
        ]
        answers = [json.loads(client.communicate(timeout=120)[0]) for client in clients]
        items = service.items()
    assert Counter(items) == {f"key-{number}": 1 for number in range(keys)}
    assert all(answer == answers[0] for answer in answers)
    assert {status for status, *_ in answers[0].values()} == {201}


def keep_placing(service: Service, writer: int, acknowledged: list[str], done: threading.Event) -> None:
    """Place order after order, each until it is acknowledged, also while the service restarts."""
    number = 0
    while not done.is_set():
        name = f"{writer}-{number}"
        try:
            with service.connected() as client:
                while not done.is_set():
                    name = f"{writer}-{number}"
                    headers = service.headers() | {"Idempotency-Key": name}
                    answer = ask(client, "POST", "/api/orders", BOOK | {"item": name}, headers)
                    if answer.status == 201:
                        assert answer.json["item"] == name
                        acknowledged.append(name)
                        number += 1
                    else:
                        assert answer.status in {409, 503}, answer.body
        except (OSError, HTTPException):
            done.wait(0.01)  # it is down


@pytest.mark.parametrize("kills", [2, pytest.param(share(20), marks=pytest.mark.long)])
def test_every_acknowledged_order_exists_once_after_kill_9_during_writes(kills, serve):
    acknowledged, done = [], threading.Event()
    with serve(2) as service, ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(keep_placing, service, writer, acknowledged, done) for writer in range(6)]
        try:
            for _ in range(kills):
                enough, deadline = len(acknowledged) + 60, time.monotonic() + 60
                while len(acknowledged) < enough:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                service.kill()
                service.start()
        finally:
            done.set()
        for writer in writers:
            writer.result()
        items = Counter(service.items())
    assert set(acknowledged) <= set(items)
    assert set(items.values()) == {1}
    # What was not acknowledged is at most the one request of each writer that was under way at the end.
    assert len(items) - len(acknowledged) <= len(writers)
