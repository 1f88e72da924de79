"""`Idempotency-Key`: the same request again gets the first answer again, whoever else asks, and whatever happens."""

import errno
import json
import os
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
from django.db import IntegrityError, connection
from django.utils import timezone
from tests.orders.serving import Service, ask, write_lock
from tests.shares import share

from orders import idempotency
from orders.models import KeptAnswer, Order

BOOK = {"item": "book", "address": "Main street 1"}
SAME = ("Location", "ETag", "Content-Type")


def place(api, key: str, body: object = BOOK):
    return api.post("/api/orders", body, HTTP_IDEMPOTENCY_KEY=key)


def told(answer) -> tuple:
    return answer.status_code, answer.content, *(answer[name] for name in SAME)


@pytest.fixture(autouse=True)
def purge(monkeypatch):
    """Begin with what a worker begins with."""
    monkeypatch.setattr(idempotency, "PURGE", idempotency.Purge())


@pytest.mark.django_db
class TestOne:
    def test_the_same_request_again_gets_the_first_answer_again(self, user):
        first = place(user(7), "a-key")
        assert first.status_code == 201
        assert told(place(user(7), "a-key")) == told(first)
        assert Order._base_manager.count() == 1

    def test_it_is_the_first_answer_that_comes_again_whatever_became_of_the_order(self, user):
        first = place(user(7), "a-key")
        user(7).post(f"{first['Location']}/cancel")
        assert told(place(user(7), "a-key")) == told(first)
        assert Order._base_manager.get().status == "cancelled"

    def test_without_a_key_each_request_places_an_order(self, user):
        assert user(7).post("/api/orders", BOOK).json() != user(7).post("/api/orders", BOOK).json()
        assert (Order._base_manager.count(), KeptAnswer.objects.count()) == (2, 0)

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
    def test_a_body_that_says_the_same_is_the_same(self, user, body):
        assert told(place(user(7), "a-key")) == told(place(user(7), "a-key", body))

    def test_a_body_at_fault_does_not_use_the_key_up(self, user):
        assert place(user(7), "a-key", {"item": "book"}).status_code == 400
        assert place(user(7), "a-key").status_code == 201

    def test_work_that_fails_keeps_nothing_and_the_key_is_free(self, user, monkeypatch):
        monkeypatch.setattr(idempotency, "Answer", lambda *values: 1 / 0)
        monkeypatch.setattr("orders.api.Answer", lambda *values: 1 / 0)
        assert place(user(7), "a-key").status_code == 500
        assert (Order._base_manager.count(), KeptAnswer.objects.count()) == (0, 0)
        monkeypatch.undo()
        assert place(user(7), "a-key").status_code == 201

    def test_an_answer_is_kept_for_a_day_and_then_is_gone(self, user):
        first = place(user(7), "a-key")
        age("a-key", timedelta(hours=23, minutes=59))
        assert told(place(user(7), "a-key")) == told(first)
        age("a-key", timedelta(hours=24, seconds=1))
        second = place(user(7), "a-key", BOOK | {"item": "pen"})
        assert (second.status_code, second.json()["item"]) == (201, "pen")
        assert KeptAnswer.objects.count() == 1

    def test_an_expired_answer_behind_others_is_none(self, user, monkeypatch):
        monkeypatch.setattr(idempotency, "PURGED_AT_ONCE", 0)
        first = place(user(7), "a-key")
        age("a-key", timedelta(hours=25))
        assert place(user(7), "a-key")["Location"] != first["Location"]

    def test_expired_answers_of_anyone_go_as_others_come(self, user):
        for number in range(25):
            place(user(number + 1), f"key-{number}")
        KeptAnswer.objects.update(created_at=timezone.now() - timedelta(days=2))
        counts = []
        for number in range(4):
            place(user(7), f"new-{number}")
            counts.append(KeptAnswer.objects.count())
        assert counts == [16, 7, 3, 4]
        assert Order._base_manager.count() == 29

    def test_answers_of_a_clock_that_was_ahead_do_not_keep_those_behind_them(self, user):
        for number in range(40):
            place(user(7), f"key-{number}")
        ids = list(KeptAnswer.objects.order_by("pk").values_list("pk", flat=True))
        ahead, past = KeptAnswer.objects.filter(pk__in=ids[:15]), KeptAnswer.objects.filter(pk__in=ids[15:])
        ahead.update(created_at=timezone.now() + timedelta(days=365))
        past.update(created_at=timezone.now() - timedelta(days=2))
        for number in range(10):
            place(user(7), f"new-{number}")
        assert (ahead.count(), past.count()) == (15, 0)
        first = place(user(7), "key-0")
        assert place(user(7), "key-0").content == first.content
        ahead.update(created_at=timezone.now() - timedelta(days=1))
        for number in range(10, 13):
            place(user(7), f"new-{number}")
        assert ahead.count() == 0

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL locks without a file")
    @pytest.mark.parametrize(
        ("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EMFILE, 503), (errno.EROFS, 503)]
    )
    def test_where_the_file_of_locks_cannot_be_opened_nothing_is_stored(self, user, monkeypatch, number, status):
        def refuse(*arguments: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(idempotency.os, "open", refuse)
            answer = place(user(7), "a-key")
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
        assert "Retry-After" in answer
        assert (Order._base_manager.count(), KeptAnswer.objects.count()) == (0, 0)
        assert place(user(7), "a-key").status_code == 201

    def test_the_database_itself_keeps_one_answer_for_a_key(self, user):
        place(user(7), "a-key")
        with pytest.raises(IntegrityError):
            KeptAnswer.objects.create(owner=7, key="a-key", fingerprint="x", status=201, location="/", body="{}")


def age(key: str, by: timedelta) -> None:
    assert KeptAnswer.objects.filter(key=key).update(created_at=timezone.now() - by)


KEYS = {
    '"8e03978e-40d5-43e8-bc93-6894a57f9324"': "8e03978e-40d5-43e8-bc93-6894a57f9324",
    "8e03978e-40d5-43e8-bc93-6894a57f9324": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    '"with a space"': "with a space",
    r'"a \"b\" \\c"': r'a "b" \c',
    "a": "a",
    "!#$%&'()*+-./:;<=>?@[]^_`{|}~": "!#$%&'()*+-./:;<=>?@[]^_`{|}~",
    "k" * 255: "k" * 255,
    '"' + "k" * 255 + '"': "k" * 255,
}
BAD_KEYS = [
    "",
    " ",
    '""',
    '"',
    '"a',
    'a"',
    "a b",
    "a,b",
    '"a","b"',
    '"a,b"',  # or two lines that were joined: "a and b"
    '"a";p=1',
    r'"\a"',
    "ä",
    '"ä"',
    "a\x00b",
    "a\tb",
    "k" * 256,
]
BAD_KEYS += ['"' + "k" * 256 + '"', '"' + "\\" * 4001 + '"']


@pytest.mark.parametrize(("header", "key"), KEYS.items(), ids=lambda value: value[:20])
def test_a_key_is_a_structured_string_or_bare(header, key):
    assert idempotency.key_from(header) == key


@pytest.mark.django_db
@pytest.mark.parametrize("header", BAD_KEYS, ids=lambda value: repr(value)[:20])
def test_a_malformed_key_is_400(user, header):
    answer = place(user(7), header)
    assert answer.status_code == 400, answer.content
    assert set(answer.json()["errors"]) == {"Idempotency-Key"}
    assert (Order._base_manager.count(), KeptAnswer.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_while_the_first_request_runs_the_key_waits_and_then_is_409(user, monkeypatch):
    monkeypatch.setattr(idempotency, "PATIENCE", 0.1)
    running, go_on = threading.Event(), threading.Event()

    def held() -> idempotency.Answer:
        running.set()
        assert go_on.wait(30)
        return idempotency.Answer(201, "/api/orders/1", b"{}")

    def first() -> idempotency.Answer:
        try:
            return idempotency.once(
                owner=7, key="a-key", body=idempotency.fingerprint(BOOK | {"quantity": 1}), work=held
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        kept = threads.submit(first)
        try:
            assert running.wait(30)
            refused = place(user(7), '"a-key"')
        finally:
            go_on.set()
        assert kept.result().status == 201
    assert (refused.status_code, refused["Content-Type"]) == (409, "application/problem+json"), refused.content
    assert refused["Retry-After"] == "1"
    assert place(user(7), "a-key").content == b"{}"


@pytest.fixture
def serve(issuer, tmp_path):
    return lambda workers: Service(issuer, tmp_path, workers=workers)


def test_an_answer_outlives_a_restart(serve):
    with serve(1) as service:
        first = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
        service.kill()
        service.start()
        again = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
    assert first.status == again.status == 201
    assert first.body == again.body
    assert [first.headers[name] for name in SAME] == [again.headers[name] for name in SAME]


def test_an_answer_comes_again_while_nobody_can_write(serve):
    with serve(1) as service:
        first = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
        with write_lock(service):
            again = service.ask("POST", "/api/orders", BOOK, **{"Idempotency-Key": "a-key"})
    assert (again.status, again.body) == (first.status, first.body)
    assert again.status == 201


def test_eight_processes_with_the_same_hundred_keys_place_a_hundred_orders(serve):
    with serve(4) as service:
        passport = service.issuer.passport(7, audience="orders")
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "tests.orders.placing", str(service.port), "7", passport]
        clients = [
            subprocess.Popen([*command, str(seed), "100"], cwd=root, stdout=subprocess.PIPE, text=True)
            for seed in range(8)
        ]
        answers = [json.loads(client.communicate(timeout=120)[0]) for client in clients]
        items = service.items()
    assert Counter(items) == {f"key-{number}": 1 for number in range(100)}
    assert all(answer == answers[0] for answer in answers)
    assert {status for status, *_ in answers[0].values()} == {201}


def keep_placing(service: Service, writer: int, acknowledged: list[str], done: threading.Event) -> None:
    """Place order after order, each until it is acknowledged, whatever happens to the service meanwhile."""
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
def test_every_acknowledged_order_is_there_once_after_kill_9_amid_writes(kills, serve):
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
