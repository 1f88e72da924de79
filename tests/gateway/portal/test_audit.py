"""The audit trail has who did what with identities, for admins."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import PAGE, send, sign_in

from gateway import config_events
from gateway.identity import audit
from gateway.identity.audit import Event
from gateway.identity.models import AuditEntry

pytestmark = pytest.mark.django_db


def browser(username: str = "user") -> Client:
    client = Client(raise_request_exception=False, headers={"Host": "testserver", "User-Agent": "curl/8"})
    assert sign_in(client, username=username).status_code == 303
    return client


def trail() -> list[tuple[str, str, str]]:
    """Return event, username and author of the entries, oldest first."""
    return [(entry.event, entry.username, entry.by) for entry in AuditEntry.objects.order_by("pk")]


def test_sign_ins_and_sign_outs_are_recorded_with_client_and_request(login: LoginService) -> None:
    client = browser()
    client.post("/logout/", headers=PAGE | {"Origin": "http://testserver"})
    assert trail() == [("signed_in", "user", ""), ("signed_out", "user", "")]
    first, last = AuditEntry.objects.order_by("pk")
    assert (first.user_id, first.client_address, first.detail) == ("2", "127.0.0.1", "curl/8")
    assert first.session == last.session != ""
    assert first.request_id != last.request_id


def test_a_failed_sign_in_is_recorded_without_the_password(login: LoginService) -> None:
    body = {"username": "user", "password": "no such secret"}
    Client().post("/api/login", body, content_type="application/json", headers={"Host": "testserver"})
    (entry,) = AuditEntry.objects.all()
    assert (entry.event, entry.username, entry.user_id) == ("sign_in_failed", "user", "")
    assert "no such secret" not in json.dumps([*audit.exported(audit.entries())])


def test_a_storm_of_sign_ins_is_one_entry_a_minute_once_it_is_slowed_down(login: LoginService, settings: Any) -> None:
    settings.LOGIN_FREE_TRIES = 1
    audit.throttled_at.clear()
    body = {"username": "user", "password": "x"}
    for _ in range(20):
        Client().post("/api/login", body, content_type="application/json", headers={"Host": "testserver"})
    events = [event for event, _, _ in trail()]
    assert events.count("sign_in_throttled") == 1
    assert len(events) <= 3


def test_an_admin_who_ends_a_users_sessions_is_named(login: LoginService) -> None:
    browser()
    admin = browser("admin")
    send(admin, "/sessions/", user="2", end="others")
    entry = AuditEntry.objects.get(event="sessions_ended")
    assert (entry.user_id, entry.by, entry.detail) == ("2", "admin", "sessions: 1")


def test_new_keys_are_recorded() -> None:
    call_command("rotate_keys")
    call_command("rotate_keys", "--stolen")
    assert trail() == [("key_added", "", "rotate_keys"), ("keys_replaced", "", "rotate_keys --stolen")]


def test_only_admins_read_the_trail(login: LoginService) -> None:
    assert Client().get("/gateway/audit/", headers=PAGE | {"Host": "testserver"}).status_code == 303
    assert browser().get("/gateway/audit/", headers=PAGE).status_code == 403
    assert browser().get("/gateway/audit/").status_code == 403
    assert Client().get("/gateway/audit/", headers={"Host": "testserver"}).status_code == 401
    page = browser("admin").get("/gateway/audit/", headers=PAGE)
    assert (page.status_code, page["Cache-Control"]) == (200, "no-store")
    assert page.content.decode().count("<tr>") == 1 + 3


def test_the_page_filters_and_leads_to_older_entries(login: LoginService) -> None:
    for number in range(150):
        audit.record(Event.SIGN_IN_FAILED, username=f"name{number % 2}", address="192.0.2.7")
    admin = browser("admin")
    page = admin.get("/gateway/audit/?event=sign_in_failed&user=NAME1&address=192.0.2.7", headers=PAGE).content.decode()
    assert (page.count("name1"), "name0" in page, "Older entries" in page) == (75, False, False)
    page = admin.get("/gateway/audit/?address=192.0.2.7", headers=PAGE).content.decode()
    older = page.partition('href="/gateway/audit/?address=192.0.2.7&amp;before=')[2].partition('"')[0]
    page = admin.get(f"/gateway/audit/?address=192.0.2.7&before={older}", headers=PAGE).content.decode()
    assert page.count("192.0.2.7</td>") == 50


def test_what_a_client_sends_is_escaped(login: LoginService) -> None:
    audit.record(Event.SIGN_IN_FAILED, username="<script>alert(1)</script>\x1b[2J")
    text = browser("admin").get("/gateway/audit/", headers=PAGE).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;�[2J" in text


def test_the_export_is_json_lines_without_empty_values(login: LoginService) -> None:
    admin = browser("admin")
    reply = admin.get("/gateway/audit/?format=jsonl&event=signed_in", headers=PAGE)
    assert reply["Content-Type"] == "application/jsonl"
    (entry,) = map(json.loads, b"".join(reply.streaming_content).splitlines())
    assert entry.keys() == {"time", "event", "user_id", "username", "client", "session", "request_id", "detail"}


def test_entries_are_deleted_after_audit_days(settings: Any) -> None:
    audit.record(Event.SIGNED_IN, username="old")
    AuditEntry.objects.update(at=timezone.now() - timedelta(days=settings.AUDIT_DAYS + 1))
    audit.record(Event.SIGNED_IN, username="new")
    audit.audit_purge()
    assert trail() == [("signed_in", "new", "")]


def test_beyond_a_number_of_entries_the_oldest_are_deleted() -> None:
    for number in range(5):
        audit.record(Event.SIGN_IN_FAILED, username=str(number))
    audit.audit_purge(capacity=3)
    assert [username for _, username, _ in trail()] == ["2", "3", "4"]


def test_a_filter_with_a_control_character_matches_nothing(login: LoginService) -> None:
    page = browser("admin").get("/gateway/audit/?user=a%00b", headers=PAGE)
    assert page.status_code == 200
    assert "No entries." in page.content.decode()


def test_changes_are_found_by_a_part_of_their_detail(login: LoginService) -> None:
    for user in (7, 8):
        audit.record(Event.CHANGED, by="admin", detail=f"PATCH /api/users/{user} 200: user {user}: email")
    page = browser("admin").get("/gateway/audit/?event=changed&detail=User%207:", headers=PAGE).content.decode()
    assert ("user 7: email" in page, "user 8: email" in page) == (True, False)


def test_a_detail_that_is_too_long_is_cut() -> None:
    audit.record(Event.CHANGED, detail="x" * 5000)
    detail = AuditEntry.objects.get().detail
    assert (len(detail), detail[-2:]) == (audit.MAX_DETAIL, "x…")


def test_an_event_that_cannot_be_recorded_stays_for_the_next_worker(tmp_path: Path) -> None:
    config_events.put(tmp_path, "config_loaded", by="watch", detail="1 route")

    def fail(_: config_events.ConfigEvent) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        config_events.take(tmp_path, fail)
    assert config_events.are_waiting(tmp_path)
    audit.record_config_events()
    (entry,) = AuditEntry.objects.all()
    assert (entry.event, entry.by, entry.detail) == ("config_loaded", "watch", "1 route")
    assert not any((tmp_path / config_events.FOLDER).iterdir())
