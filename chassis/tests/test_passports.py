"""Whom the service believes, and what it does while the gateway cannot be asked."""

import base64
import hashlib
import hmac
import json
import threading
import time

import pytest
from django.conf import settings
from django.test import Client
from tests.issuer import Issuer, trust
from tests.waiting import wait_until

from chassis import passports
from chassis.passports import KEYS_COOLDOWN, backend
from chassis.testing import LocalKeys, SigningKey
from shop.models import Sale

ORDER = {"item": "book", "address": "Main street 1"}
UNFETCHABLE = "http://127.0.0.1:9/.well-known/jwks.json"


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(issuer: Issuer) -> str:
    claims = issuer.passport(7, audience="shop").split(".")[1]
    return f"{segment({'alg': 'none', 'typ': 'JWT', 'kid': issuer.keys[0].kid})}.{claims}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """The attack on verifiers that take the public key for an HMAC secret."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = issuer.keys[0].private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = segment({"alg": "HS256", "typ": "JWT", "kid": issuer.keys[0].kid})
    signed = f"{header}.{issuer.passport(7, audience='orders').split('.')[1]}"
    return f"{signed}.{segment(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"


def tampered(issuer: Issuer) -> str:
    header, _, signature = issuer.passport(7, audience="shop").split(".")
    other = issuer.passport(7, audience="shop", role="admin").split(".")[1]
    return f"{header}.{other}.{signature}"


def header_of(value: object) -> str:
    return f"{segment(value)}.{segment({})}.{segment(b'x' * 64)}"


def post(passport: str | None, user_id: str | None = "7", authorization: str | None = None):
    headers = {} if user_id is None else {"request-user-id": user_id}
    if passport is not None:
        headers["authorization"] = f"Bearer {passport}"
    if authorization is not None:
        headers["authorization"] = authorization
    client = Client(raise_request_exception=False)
    return client.post("/sales", json.dumps(ORDER), content_type="application/json", headers=headers)


@pytest.mark.django_db
def test_a_passport_for_this_service_with_its_own_user_id_is_accepted(issuer):
    assert post(issuer.passport(7, audience="shop")).status_code == 201
    assert Sale.objects.get().owner == 7


REJECTED = {
    "another service's passport": lambda issuer: issuer.passport(7, audience="users"),
    "an access token": lambda issuer: issuer.passport(7, audience=None, token_type="access"),
    "an access token with our audience": lambda issuer: issuer.passport(7, audience="shop", token_type="access"),
    "a refresh token": lambda issuer: issuer.passport(7, audience=None, token_type="refresh"),
    "no token type": lambda issuer: issuer.passport(7, audience="shop", token_type=None),
    "expired": lambda issuer: issuer.passport(7, audience="shop", iat=1, exp=int(time.time()) - 10),
    "no expiry": lambda issuer: issuer.passport(7, audience="shop", exp=None),
    "not yet valid": lambda issuer: issuer.passport(7, audience="shop", nbf=int(time.time()) + 60),
    "another issuer": lambda issuer: issuer.passport(7, audience="shop", iss="someone"),
    "no issuer": lambda issuer: issuer.passport(7, audience="shop", iss=None),
    "no sub": lambda issuer: issuer.passport(7, audience="shop", sub=None),
    "a sub that is not a user's id": lambda issuer: issuer.passport(7, audience="shop", sub="seven"),
    "no jti": lambda issuer: issuer.passport(7, audience="shop", jti=None),
    "another's key under a known kid": lambda issuer: issuer.passport(
        7, audience="shop", key=SigningKey(issuer.keys[0].kid)
    ),
    "an unknown kid": lambda issuer: issuer.passport(7, audience="shop", key=SigningKey()),
    "no kid": lambda issuer: header_of({"alg": "ES256"}),
    "a kid that is a list": lambda issuer: header_of({"alg": "ES256", "kid": ["a"]}),
    "alg none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "other claims under a signature": tampered,
    "no token": lambda issuer: "",
    "one word": lambda issuer: "garbage",
    "two words": lambda issuer: "gar bage",
    "three empty segments": lambda issuer: "..",
    "three segments of garbage": lambda issuer: "ga.rb.age",
    "not ASCII": lambda issuer: "käse.käse.käse",
    "a critical extension": lambda issuer: issuer.passport(7, audience="shop", headers={"crit": ["exp"], "exp": 1}),
    "a header that is a list": lambda issuer: header_of([]),
    "a header of another encoding": lambda issuer: header_of(b"\xff\xfe"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("make", REJECTED.values(), ids=REJECTED.keys())
def test_anything_but_the_gateway_s_passport_is_401(issuer, make):
    answer = post(make(issuer))
    assert answer.status_code == 401, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["origin"] == "shop"
    assert not Sale.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("user_id", [None, "", "8", "07", "+7", "7,7", "7, 7", "seven", "٧"])
def test_a_request_user_id_that_is_not_the_passports_sub_is_401(issuer, user_id):
    assert post(issuer.passport(7, audience="shop"), user_id).status_code == 401
    assert not Sale.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("authorization", [None, "", "Basic dTp1", "Bearer", "Token {}", "Bearer {},Bearer {}"])
def test_no_bearer_passport_is_401(issuer, authorization):
    passport = issuer.passport(7, audience="shop")
    answer = post(None, authorization=authorization and authorization.replace("{}", passport))
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert not Sale.objects.exists()


@pytest.mark.django_db
def test_the_gateways_own_passport_may_not_place_orders(issuer):
    answer = post(issuer.passport("gateway", audience="shop", role="service"), "gateway")
    assert answer.status_code == 403
    assert answer.json()["title"] == "Forbidden"
    assert not Sale.objects.exists()


def status(passport: str) -> int:
    return Client().get("/sales", headers={"authorization": f"Bearer {passport}", "request-user-id": "7"}).status_code


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("option", "headers", "expected"),
    [
        ("Authorization", {"authorization": "Bearer {}"}, 200),
        ("Authorization", {"x-gatehouse-passport": "{}"}, 401),
        ("X-Gatehouse-Passport", {"x-gatehouse-passport": "{}"}, 200),
        ("X-Gatehouse-Passport", {"x-gatehouse-passport": "{}", "authorization": "Bearer the-clients-own"}, 200),
        ("X-Gatehouse-Passport", {"authorization": "Bearer {}"}, 401),
        ("X-Gatehouse-Passport", {"x-gatehouse-passport": "{} {}"}, 401),
        ("X-Gatehouse-Passport", {"x-gatehouse-passport": ""}, 401),
    ],
)
def test_a_passport_counts_in_the_configured_header_alone(issuer, settings, option, headers, expected):
    settings.GATEHOUSE = settings.GATEHOUSE | {"PASSPORT_HEADER": option}
    passport = issuer.passport(7, audience="shop")
    sent = {name: value.replace("{}", passport) for name, value in headers.items()} | {"request-user-id": "7"}
    assert Client().get("/sales", headers=sent).status_code == expected


@pytest.mark.django_db
def test_an_accepted_passport_needs_no_keys_for_a_minute(issuer):
    """It is remembered: whatever the keys are by then, its signature is not checked again."""
    passport = issuer.passport(7, audience="shop")
    assert status(passport) == 200
    backend().jwks_client = LocalKeys(SigningKey())
    try:
        assert status(passport) == 200
        assert status(issuer.passport(7, audience="shop", jti="another")) == 401
    finally:
        backend.cache_clear()


@pytest.mark.django_db
def test_a_remembered_passport_is_checked_again_after_a_minute(issuer):
    """So one that never expires, signed with a stolen key, ends with the key."""
    passport = issuer.passport(7, audience="shop", exp=2**36)
    backend().remember(passport.encode(), passports.Passport(passport))
    assert backend().recall(passport.encode()) is not None
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("time.time", lambda: now + passports.REMEMBER_FOR)
        assert backend().recall(passport.encode()) is None


@pytest.mark.django_db
def test_a_remembered_passport_expires(issuer):
    passport = issuer.passport(7, audience="shop", exp=int(time.time()))
    assert status(passport) == 200  # within the leeway
    deadline = time.monotonic() + 10
    while status(passport) != 401:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.mark.django_db
def test_another_users_id_with_an_accepted_passport_is_401(issuer):
    passport = issuer.passport(7, audience="shop")
    assert post(passport).status_code == 201
    assert post(passport, "8").status_code == 401


@pytest.mark.django_db
def test_remembered_passports_are_bounded(issuer, monkeypatch):
    monkeypatch.setattr(passports, "MAX_REMEMBERED", 3)
    first = issuer.passport(7, audience="shop")
    assert status(first) == 200
    for number in range(5):
        assert status(issuer.passport(7, audience="shop", jti=str(number))) == 200
    assert backend().recall(first.encode()) is None


@pytest.fixture
def gateway():
    """An issuer of this test's own, so that what it does to the keys disturbs no other."""
    with Issuer() as running:
        before = settings.GATEHOUSE["JWKS_URL"]
        trust(running.url)
        yield running
        trust(before)


BAD_DOCUMENTS = [
    (b"", 200), (b"not JSON", 200), (b"\xff", 200), (b"[]", 200), (b"5", 200), (b'{"keys": 5}', 200),
    (b'{"keys": []}', 200), (b"{}", 404), (b"{}", 500),
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(("body", "code"), BAD_DOCUMENTS)
def test_keys_that_cannot_be_fetched_are_503_until_they_can(gateway, caplog, body, code):
    passport = gateway.passport(7, audience="shop")
    with gateway.answering(body, code):
        answer = post(passport)
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert (answer["Content-Type"], answer.json()["code"]) == ("application/problem+json", "keys_unavailable")
    assert not Sale.objects.exists()
    assert post(passport).status_code == 201


@pytest.mark.django_db
def test_a_gateway_that_is_away_is_named_in_the_log(issuer, caplog):
    before = settings.GATEHOUSE["JWKS_URL"]
    trust(UNFETCHABLE)
    try:
        assert post(issuer.passport(7, audience="shop")).status_code == 503
    finally:
        trust(before)
    assert UNFETCHABLE in caplog.text


@pytest.mark.django_db
def test_a_proxy_that_the_environment_names_is_not_asked_for_keys(gateway, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert status(gateway.passport(7, audience="shop")) == 200


@pytest.mark.django_db
def test_a_new_key_is_found_and_unknown_ones_make_no_flood_of_fetches(gateway):
    good = gateway.passport(7, audience="shop")
    assert status(good) == 200
    started = time.monotonic()
    for number in range(200):
        assert status(gateway.passport(7, audience="shop", key=SigningKey(f"kid-{number}"))) == 401
        assert status(good) == 200
    assert gateway.fetches <= 2 + (time.monotonic() - started) / KEYS_COOLDOWN
    gateway.keys.append(SigningKey())
    new, deadline = gateway.passport(7, audience="shop", key=gateway.keys[1]), time.monotonic() + 30
    while status(new) != 200:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.mark.django_db
def test_keys_that_are_fetched_at_the_start_outlast_an_outage_before_the_first_request(gateway, monkeypatch):
    monkeypatch.setattr(passports, "KEYS_COOLDOWN", 0)
    monkeypatch.setattr(passports, "MAX_PAUSE", 0.05)
    with gateway.answering(b"", 503):
        passports.fetch_keys()
        wait_until(lambda: gateway.fetches > 1, "the keys are asked for again")
    wait_until(lambda: backend().keys.known, "the keys are known")
    with gateway.answering(b"", 503):
        assert status(gateway.passport(7, audience="shop")) == 200


@pytest.mark.django_db
@pytest.mark.parametrize(("body", "code"), BAD_DOCUMENTS)
def test_known_keys_stay_in_use_while_they_cannot_be_fetched(gateway, monkeypatch, body, code):
    good = gateway.passport(7, audience="shop")
    assert status(good) == 200
    new = gateway.passport(7, audience="shop", key=SigningKey("new"))
    monkeypatch.setattr(backend().keys, "cooldown_duration", 0)
    with gateway.answering(body, code):
        # Its key may be a new one.
        assert status(new) == 503
        assert status(gateway.passport(7, audience="shop", jti="another")) == 200
        monkeypatch.setattr(passports, "KEYS_KEPT", 0)
        assert status(new) == 503
    assert status(new) == 401
