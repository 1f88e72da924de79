"""Whom the service believes, and what it does while the gateway cannot be asked."""

import base64
import hashlib
import hmac
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jwt
import pytest
from django.conf import settings
from django.test import Client
from tests.issuer import Issuer, trust

from chassis import passports
from chassis.passports import KEYS_COOLDOWN, KEYS_MAX_AGE, GatewayKeys, backend
from chassis.problems import Unavailable
from chassis.testing import SigningKey
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


def with_moment(issuer: Issuer, name: str, text: str) -> str:
    """A passport of the gateway's own key, with what its JSON would not hold."""
    claims = segment_of(issuer.passport(7, audience="shop").split(".")[1]) | {name: "moment"}
    payload = json.dumps(claims).replace('"moment"', text).encode()
    return jwt.api_jws.encode(payload, issuer.keys[0].private, "ES256", {"kid": issuer.keys[0].kid})


def segment_of(text: str) -> dict[str, object]:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


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


REFUSED = {
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
    "a sub that is no user's": lambda issuer: issuer.passport(7, audience="shop", sub="seven"),
    "no role": lambda issuer: issuer.passport(7, audience="shop", role=None),
    "a role that is a list": lambda issuer: issuer.passport(7, audience="shop", role=["default"]),
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
    "an exp that is infinite": lambda issuer: with_moment(issuer, "exp", "1e400"),
    "an exp that is NaN": lambda issuer: with_moment(issuer, "exp", "NaN"),
    "an exp of words": lambda issuer: with_moment(issuer, "exp", '"4102444800"'),
    "an exp beyond all dates": lambda issuer: with_moment(issuer, "exp", "1" + "0" * 400),
    "an exp of a fraction far off": lambda issuer: with_moment(issuer, "exp", "1e300"),
    "an iat that is infinite": lambda issuer: with_moment(issuer, "iat", "-1e400"),
    "an iat that is true": lambda issuer: with_moment(issuer, "iat", "true"),
    "an nbf that is infinite": lambda issuer: with_moment(issuer, "nbf", "1e400"),
    "a critical extension": lambda issuer: issuer.passport(7, audience="shop", headers={"crit": ["exp"], "exp": 1}),
    "a deeply nested header": lambda issuer: header_of(b"[" * 5000),
    "a header that is a list": lambda issuer: header_of([]),
    "a header of another encoding": lambda issuer: header_of(b"\xff\xfe"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_anything_but_a_passport_of_ours_is_401(issuer, make):
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
def test_an_accepted_passport_is_checked_once(issuer, monkeypatch):
    passport, checked = issuer.passport(7, audience="shop"), []
    decode = passports.PassportBackend.decode
    monkeypatch.setattr(
        passports.PassportBackend, "decode", lambda *args, **kw: checked.append(1) or decode(*args, **kw)
    )
    assert [status(passport) for _ in range(3)] == [200] * 3
    assert len(checked) == 1


@pytest.mark.django_db
def test_an_accepted_passport_is_none_once_it_has_expired(issuer):
    passport = issuer.passport(7, audience="shop", exp=int(time.time()))
    assert status(passport) == 200  # within the leeway
    wait_for(lambda: status(passport) == 401)
    assert passport.encode() not in backend().accepted


@pytest.mark.django_db
def test_an_accepted_passport_ends_with_its_key(issuer):
    old = SigningKey()
    issuer.keys.append(old)
    backend.cache_clear()
    passport = issuer.passport(7, audience="shop", key=old)
    try:
        assert [status(passport) for _ in range(2)] == [200] * 2
    finally:
        issuer.keys.remove(old)
    let_pass(backend().keys, KEYS_MAX_AGE)
    wait_for(lambda: status(passport) == 401)


@pytest.mark.django_db
def test_another_users_id_with_an_accepted_passport_is_401(issuer):
    passport = issuer.passport(7, audience="shop")
    assert post(passport).status_code == 201
    assert post(passport, "8").status_code == 401


@pytest.mark.django_db
def test_remembered_passports_are_bounded(issuer, monkeypatch):
    monkeypatch.setattr(passports, "MAX_REMEMBERED", 3)
    backend().accepted.clear()
    for number in range(10):
        assert status(issuer.passport(7, audience="shop", jti=str(number))) == 200
        assert len(backend().accepted) <= 3


@pytest.fixture
def unreachable():
    """The service's own keys come from where nothing listens."""
    before = settings.GATEHOUSE["JWKS_URL"]
    trust(UNFETCHABLE)
    yield
    trust(before)


@pytest.mark.django_db
def test_keys_that_cannot_be_fetched_are_503(issuer, unreachable):
    answer = post(issuer.passport(7, audience="shop"))
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer["Content-Type"] == "application/problem+json"
    assert not Sale.objects.exists()


@pytest.fixture
def gateway():
    """An issuer of this test's own, so that what it does to the keys disturbs no other."""
    with Issuer() as running:
        yield running


@pytest.fixture
def keys(gateway):
    return GatewayKeys(gateway.url)


def let_pass(keys: GatewayKeys, seconds: float) -> None:
    """Make the keys that much older, without waiting."""
    keys.tried -= seconds
    keys.fetched -= seconds


def wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"not JSON", 200),
        (b"\xff", 200),
        (b"[]", 200),
        (b"5", 200),
        (b'{"keys": 5}', 200),
        (b'{"keys": []}', 200),
        (b'{"keys": [5]}', 200),
        (b'{"keys": [{"kty": "EC", "alg": []}]}', 200),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "a"}]}', 200),
        (b"{}", 404),
        (b"{}", 500),
    ],
)
def test_an_answer_that_is_no_jwks_is_no_keys(gateway, keys, body, status):
    with gateway.answering(body, status), pytest.raises(Unavailable):
        keys.get(gateway.keys[0].kid)


def test_a_key_without_a_usable_kid_is_passed_over(gateway, keys):
    jwks = {"keys": [gateway.keys[0].jwk | {"kid": ["a"]}, SigningKey("b").jwk]}
    with gateway.answering(json.dumps(jwks).encode()):
        assert keys.get("b").key_id == "b"
    assert set(keys.known) == {"b"}


def test_a_proxy_that_the_environment_names_is_not_asked_for_keys(gateway, keys, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert keys.get(gateway.keys[0].kid).key_id == gateway.keys[0].kid


def test_a_failed_fetch_is_not_repeated_for_each_request(gateway, keys):
    with gateway.answering(b"", 500):
        for _ in range(20):
            with pytest.raises(Unavailable):
                keys.get(gateway.keys[0].kid)
        assert gateway.fetches == 1
    let_pass(keys, KEYS_COOLDOWN)
    assert keys.get(gateway.keys[0].kid)


def test_one_fetch_serves_all_who_come_first(gateway, keys):
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(lambda _: keys.get(gateway.keys[0].kid), range(64)))
    assert gateway.fetches == 1


def test_an_unknown_kid_makes_no_flood_of_fetches(gateway, keys):
    keys.get(gateway.keys[0].kid)
    let_pass(keys, KEYS_COOLDOWN)

    def unknown(number: int) -> bool:
        with pytest.raises(LookupError):
            keys.get(f"unknown-{number}")
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(unknown, range(200)))
    assert gateway.fetches == 2


@pytest.mark.django_db
def test_a_flood_of_passports_of_unknown_keys_makes_no_flood_of_fetches(gateway):
    """Through the whole service, for as long as it takes, with those who are known served meanwhile."""
    before = settings.GATEHOUSE["JWKS_URL"]
    trust(gateway.url)
    good = gateway.passport(7, audience="shop")
    try:
        assert status(good) == 200
        started = time.monotonic()
        for number in range(300):
            assert status(gateway.passport(7, audience="shop", key=SigningKey(f"kid-{number}"))) == 401
            assert status(good) == 200
        assert gateway.fetches <= 2 + (time.monotonic() - started) / KEYS_COOLDOWN
    finally:
        trust(before)


def test_a_new_key_is_found_once_the_cooldown_has_passed(gateway, keys):
    keys.get(gateway.keys[0].kid)
    gateway.keys.append(SigningKey())
    with pytest.raises(LookupError):
        keys.get(gateway.keys[1].kid)
    let_pass(keys, KEYS_COOLDOWN)
    assert keys.get(gateway.keys[1].kid).key_id == gateway.keys[1].kid


def test_a_key_that_is_published_no_more_ends_with_the_next_fetch(gateway, keys):
    old = gateway.keys[0].kid
    keys.get(old)
    gateway.keys = [SigningKey()]
    let_pass(keys, KEYS_MAX_AGE)
    with suppress(LookupError):  # fetched already
        keys.get(old)
    wait_for(lambda: old not in keys.known)
    with pytest.raises(LookupError):
        keys.get(old)


def test_while_stale_keys_are_fetched_again_they_go_on_serving(gateway, keys, monkeypatch):
    kid = gateway.keys[0].kid
    keys.get(kid)
    answer, held = threading.Event(), gateway.body()
    monkeypatch.setattr(gateway, "body", lambda: held if answer.wait(10) else b"")
    let_pass(keys, KEYS_MAX_AGE)
    try:
        for _ in range(50):
            assert keys.get(kid)
        wait_for(lambda: gateway.fetches == 2)
        assert keys.get(kid)
    finally:
        answer.set()
    wait_for(lambda: time.monotonic() - keys.fetched < KEYS_MAX_AGE)
    assert gateway.fetches == 2


def test_stale_keys_go_on_serving_where_they_cannot_be_fetched_again(gateway, keys):
    kid = gateway.keys[0].kid
    keys.get(kid)
    with gateway.answering(b"", 500):
        let_pass(keys, KEYS_MAX_AGE)
        assert keys.get(kid)
        wait_for(lambda: not keys.reachable)
        assert keys.get(kid)
        with pytest.raises(Unavailable):
            keys.get("unknown")
        assert gateway.fetches == 2


def test_known_keys_serve_while_somebody_waits_for_an_unknown_one(gateway, keys, monkeypatch):
    kid = gateway.keys[0].kid
    keys.get(kid)
    answer, held = threading.Event(), gateway.body()
    monkeypatch.setattr(gateway, "body", lambda: held if answer.wait(10) else b"")
    let_pass(keys, KEYS_COOLDOWN)
    with ThreadPoolExecutor(1) as threads:
        unknown = threads.submit(keys.get, "unknown")
        try:
            wait_for(keys.fetching.locked)
            assert keys.get(kid)
            assert not unknown.done()
        finally:
            answer.set()
        with pytest.raises(LookupError):
            unknown.result(timeout=10)
