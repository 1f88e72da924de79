"""Guessing passwords is throttled; other logins are not."""

import json
import time
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.runtimes import renew, runtime
from tests.gateway.service import Reply
from tests.ports import free_port

from gateway.identity import attempts
from gateway.identity.attempts import SignInThrottled
from gateway.identity.models import Attempts, Session
from gateway.policy.rejections import CircuitOpen, PassportRejected, RequestRejected, UpstreamConnectError

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still except for `let_pass`, however slow the machine is."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def sign_in(username: str = "user", password: str = "secret", address: str = HOME) -> bool:
    login = runtime().login
    return attempts.account_by_password(login, username=username, password=password, address=address) is not None


def guess(times: int, username: str = "user", address: str = ELSEWHERE) -> None:
    for _ in range(times):
        assert not sign_in(username, "wrong", address)


def let_pass(seconds: float) -> None:
    """Make all that is counted that much older, without waiting."""
    for row in Attempts.objects.all():
        row.at -= seconds
        row.expires_at -= seconds
        row.save()
    attempts.purge.due = 0


def test_after_some_free_tries_each_failure_doubles_the_wait(login: LoginService) -> None:
    guess(5)
    for wait in (1, 2, 4):
        with pytest.raises(SignInThrottled) as refused:
            sign_in(address=ELSEWHERE)
        assert refused.value.headers == {"Retry-After": str(wait)}
        let_pass(wait)
        guess(1)


def test_a_throttled_login_does_not_reach_the_login_service(login: LoginService, serve: Any) -> None:
    guess(5)
    login.broken = Reply.json({}, 500)
    with pytest.raises(SignInThrottled):
        sign_in(address=ELSEWHERE)
    assert Attempts.objects.order_by("-weight").first().weight == pytest.approx(5, abs=0.1)  # type: ignore[union-attr]


def test_a_rejected_passport_is_not_a_failed_login_and_is_logged_with_its_remedy(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    login.broken = Reply.json({}, 401)
    for _ in range(12):
        with pytest.raises(PassportRejected):
            sign_in(address=ELSEWHERE)
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "rejects the gateway's passport" in line.getMessage()
    assert "TOKEN_ISSUER is not the gateway's, which is 'gatehouse'" in line.getMessage()
    login.broken = None
    assert sign_in(address=ELSEWHERE)


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_a_wrong_password_counts_even_if_the_check_of_the_passport_fails(login: LoginService, status: int) -> None:
    login.session_ends = Reply.json({}, status)
    guess(5)
    with pytest.raises(SignInThrottled):
        sign_in(address=ELSEWHERE)


@pytest.mark.parametrize("name", ["user", "unknown"])
def test_guesses_at_one_name_from_many_addresses_are_throttled(login: LoginService, name: str) -> None:
    for number in range(5):
        guess(1, name, f"198.51.100.{number}")
    with pytest.raises(SignInThrottled):
        sign_in(name, "wrong", "203.0.113.9")


def test_guesses_at_many_names_from_one_address_are_throttled(login: LoginService, settings: Any) -> None:
    for number in range(settings.LOGIN_FREE_TRIES_PER_ADDRESS):
        guess(1, f"name{number}")
    with pytest.raises(SignInThrottled):
        sign_in("admin", "secret", ELSEWHERE)
    assert sign_in("admin", "secret", HOME)


def test_the_addresses_of_one_ipv6_network_are_one(login: LoginService, settings: Any) -> None:
    for number in range(settings.LOGIN_FREE_TRIES_PER_ADDRESS):
        guess(1, f"name{number}", f"2001:db8::{number:x}")
    with pytest.raises(SignInThrottled):
        sign_in("admin", "secret", "2001:db8::ffff")
    assert sign_in("admin", "secret", "2001:db8:0:1::1")


def test_guesses_from_elsewhere_do_not_lock_a_user_out_of_a_known_address(login: LoginService) -> None:
    assert sign_in()
    guess(5)
    with pytest.raises(SignInThrottled):
        sign_in(address=ELSEWHERE)
    assert sign_in()
    with pytest.raises(SignInThrottled):
        sign_in(address="203.0.113.9")


def test_guesses_at_other_names_from_a_known_address_do_not_lock_its_user_out(
    login: LoginService, settings: Any
) -> None:
    assert sign_in()
    for number in range(settings.LOGIN_FREE_TRIES_PER_ADDRESS):
        guess(1, f"name{number}", HOME)
    assert sign_in()
    with pytest.raises(SignInThrottled):
        sign_in("admin", "secret", HOME)


def test_guesses_from_a_known_address_are_throttled_too(login: LoginService) -> None:
    assert sign_in()
    guess(5, address=HOME)
    with pytest.raises(SignInThrottled):
        sign_in()
    let_pass(1)
    assert sign_in()
    guess(5, address=HOME)


def test_a_successful_login_does_not_allow_further_guesses_at_other_users(login: LoginService, settings: Any) -> None:
    """An attacker with an account signs in between the guesses."""
    for number in range(settings.LOGIN_FREE_TRIES_PER_ADDRESS):
        guess(1, f"name{number}")
        assert sign_in("user", "secret", ELSEWHERE)
    with pytest.raises(SignInThrottled):
        sign_in("admin", "wrong", ELSEWHERE)
    for _ in range(30):
        assert sign_in("user", "secret", ELSEWHERE)
    with pytest.raises(SignInThrottled):
        sign_in("admin", "wrong", ELSEWHERE)


def test_successful_logins_are_never_throttled(login: LoginService) -> None:
    for number in range(50):
        assert sign_in(address=f"192.0.2.{number}")


def test_a_known_address_is_forgotten_after_a_while(login: LoginService) -> None:
    assert sign_in()
    let_pass(attempts.KNOWN_FOR + 1)
    guess(5)
    with pytest.raises(SignInThrottled):
        sign_in()


def test_an_unreachable_login_service_is_not_a_failed_login(login: LoginService, configure: Any) -> None:
    configure(services={"people": {"url": f"http://127.0.0.1:{free_port()}"}}, login={"service": "people"})
    for _ in range(40):
        with pytest.raises((UpstreamConnectError, CircuitOpen)):
            sign_in()
    assert all(row.weight == 0 for row in Attempts.objects.all())


UNCLEAR = [Reply.json({}, 500), Reply.json({}, 503), Reply.json({}, 404), Reply(200, b"{"), Reply.json([]), None]


def try_without_verdict(login: LoginService, reply: Reply | None, times: int) -> list[str]:
    """Sign in while the login service gives no verdict; return what was raised."""
    raised = []
    login.broken, login.breaks_off = reply, reply is None
    for _ in range(times):
        with pytest.raises(RequestRejected) as refused:
            sign_in(address=ELSEWHERE)
        raised.append(type(refused.value).__name__)
    login.broken, login.breaks_off = None, False
    return raised


@pytest.mark.parametrize("reply", UNCLEAR)
def test_a_login_without_a_verdict_of_the_login_service_counts(login: LoginService, reply: Reply | None) -> None:
    raised = try_without_verdict(login, reply, 25)
    assert "SignInThrottled" not in raised[:5]
    assert set(raised[5:]) == {"SignInThrottled"}


def test_after_logins_without_a_verdict_the_wait_is_one_second_at_most(login: LoginService) -> None:
    for _ in range(30):
        try_without_verdict(login, UNCLEAR[0], 1)
        let_pass(1)
    assert sign_in(address=ELSEWHERE)


def test_logins_without_a_verdict_do_not_shorten_the_wait_after_failures(login: LoginService) -> None:
    guess(5)
    for wait in (1, 2, 4):
        let_pass(wait)
        guess(1)
    let_pass(8)
    assert try_without_verdict(login, UNCLEAR[0], 2) == ["UpstreamErrorResponse", "SignInThrottled"]
    let_pass(7.5)
    with pytest.raises(SignInThrottled) as refused:
        sign_in(address=ELSEWHERE)
    assert refused.value.headers == {"Retry-After": "1"}


def test_names_and_addresses_are_not_stored(login: LoginService) -> None:
    guess(1)
    assert sign_in()
    stored = json.dumps(list(Attempts.objects.values()))
    assert not any(said in stored for said in ("user", HOME, ELSEWHERE))
    assert Attempts.objects.count() == 4
    guess(1, "n" * 60_000 + "\ud800")
    assert all(len(row.key) == 32 for row in Attempts.objects.all())


def test_expired_attempts_are_deleted(login: LoginService) -> None:
    guess(3)
    assert sign_in()
    let_pass(3 * 900 + 1)
    guess(1, "another", "203.0.113.9")
    assert Attempts.objects.count() == 1 + 2  # the known pair, and the newest
    let_pass(attempts.KNOWN_FOR)
    assert sign_in("admin")
    assert Attempts.objects.count() == 3


def test_the_table_is_bounded_and_keeps_where_users_sign_in(login: LoginService) -> None:
    assert sign_in()
    for number in range(10):
        guess(1, f"name{number}", f"198.51.100.{number}")
        let_pass(1)
    assert Attempts.objects.count() > 20
    attempts.attempts_purge(capacity=10)
    assert 5 < Attempts.objects.count() <= 10
    guess(5)
    assert sign_in()


@pytest.mark.parametrize(
    ("encode", "kind"), [(json.dumps, "application/json"), (urlencode, "application/x-www-form-urlencoded")]
)
def test_a_throttled_login_is_a_429_with_retry_after(
    login: LoginService, client: Client, encode: Any, kind: str
) -> None:
    said = encode({"username": "user", "password": "wrong"})
    for _ in range(5):
        assert client.generic("POST", "/api/login", said, kind).status_code == 401
    reply = client.generic("POST", "/api/login", encode({"username": "user", "password": "secret"}), kind)
    assert reply.status_code == 429
    assert reply["Retry-After"] == "1"
    assert reply["Content-Type"] == "application/problem+json"
    assert not Session.objects.exists()


def test_the_address_of_an_attempt_is_taken_from_trusted_proxies_only(
    login: LoginService, client: Client, settings: Any
) -> None:
    """A forwarded address counts only if a trusted proxy sends it."""
    wrong, right = ({"username": "user", "password": each} for each in ("wrong", "secret"))

    def status(said: dict[str, str], address: str) -> int:
        headers = {"X-Forwarded-For": address}
        return int(client.post("/api/login", said, "application/json", headers=headers).status_code)

    assert status(right, HOME) == 200
    for _ in range(5):
        assert status(wrong, ELSEWHERE) == 401
    assert status(right, HOME) == 429
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    renew()
    let_pass(5400)
    assert status(right, HOME) == 200
    for _ in range(5):
        assert status(wrong, ELSEWHERE) == 401
    assert status(right, ELSEWHERE) == 429
    assert status(right, HOME) == 200
