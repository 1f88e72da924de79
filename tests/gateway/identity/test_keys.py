"""The signing keys."""

import logging
import math
import stat
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from tests.gateway.runtimes import runtime
from tests.waiting import wait_until

from gateway.identity import key_storage, keys, sessions, tokens
from gateway.identity.credentials import Account
from gateway.identity.key_rows import KeyRows
from gateway.identity.key_storage import KeyFiles
from gateway.identity.models import Session, SigningKey
from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken


def pem(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_first_start_creates_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    ring = keys.load(KeyFiles(tmp_path / "keys"))
    (path,) = (tmp_path / "keys").glob("*.pem")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stem == ring.signing.kid


def test_a_second_start_finds_the_same_key(tmp_path: Path) -> None:
    first, second = keys.load(KeyFiles(tmp_path)), keys.load(KeyFiles(tmp_path))
    assert first.signing.kid == second.signing.kid
    assert first.jwks() == second.jwks()


def load_kid(directory: Path) -> str:
    return keys.load(KeyFiles(directory)).signing.kid


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(load_kid, [tmp_path] * 8))) == 1


def test_the_kid_is_the_thumbprint_of_rfc_7638() -> None:
    """Checked with PyJWT's own reading of the published key."""
    import jwt

    key = keys.Key.of(ec.generate_private_key(ec.SECP256R1()))
    published = key.jwk()
    assert jwt.PyJWK(published).key.public_numbers() == key.private.public_key().public_numbers()
    assert "d" not in published
    assert len(key.kid) == 43


def test_the_newest_key_signs_and_all_verify(tmp_path: Path) -> None:
    old = keys.load(KeyFiles(tmp_path)).signing
    new = keys.key_create(KeyFiles(tmp_path), signs_from=time.time())
    ring = keys.load(KeyFiles(tmp_path))
    assert ring.signing.kid == new.kid
    assert ring.verifying(old.kid) is not None
    assert ring.verifying("another") is None
    assert [key["kid"] for key in ring.jwks()["keys"]] == [new.kid, old.kid]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (b"nonsense", 0o600, "not a PEM private key"),
        (pem(rsa.generate_private_key(65537, 2048)), 0o600, "curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), 0o600, "curve P-256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), 0o644, "others can read"),
        (b"signs-from: soon\n" + pem(ec.generate_private_key(ec.SECP256R1())), 0o600, "above the key"),
        (b"hello\n" + pem(ec.generate_private_key(ec.SECP256R1())), 0o600, "above the key"),
    ],
)
def test_a_file_that_is_not_a_valid_key_is_rejected_by_name(
    tmp_path: Path, content: bytes, mode: int, expected: str
) -> None:
    path = write(tmp_path, content, mode)
    with pytest.raises(ValueError, match=expected) as refused:
        keys.load(KeyFiles(tmp_path))
    assert str(path) in str(refused.value)


def rotate(directory: Path, lead: float = 600, longest: float = 3600) -> keys.Key:
    key, made = keys.rotate(KeyFiles(directory), lead=lead, longest=longest)
    assert made
    return key


def kids(ring: keys.KeyRing) -> set[str]:
    return {key["kid"] for key in ring.jwks()["keys"]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the time, in seconds from now."""
    started = time.time()

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: started + seconds)

    set_to(0)
    return set_to


def test_a_new_key_is_published_then_signs_then_is_the_only_one(tmp_path: Path, clock: Any) -> None:
    old = keys.load(KeyFiles(tmp_path)).signing
    new = rotate(tmp_path, lead=600, longest=3600)
    ring = keys.load(KeyFiles(tmp_path))
    for seconds, signing, published in (
        (0, old, {old.kid, new.kid}),
        (599, old, {old.kid, new.kid}),
        (601, new, {old.kid, new.kid}),
        (600 + 3600 + 60, new, {old.kid, new.kid}),
        (600 + 3600 + 62, new, {new.kid}),
    ):
        clock(seconds)
        assert (ring.signing.kid, kids(ring)) == (signing.kid, published)
        assert {kid for kid in (old.kid, new.kid) if ring.verifying(kid)} == published
    assert kids(keys.load(KeyFiles(tmp_path))) == {new.kid}
    assert [path.stem for path in tmp_path.glob("*.pem")] == [new.kid]


def test_only_the_owner_can_read_a_new_key_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    keys.load(KeyFiles(tmp_path))
    (tmp_path / ".unfinished").write_bytes(b"of a process that was killed")
    new = rotate(tmp_path)
    assert stat.S_IMODE((tmp_path / f"{new.kid}.pem").stat().st_mode) == 0o600
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".pem", ".pem"]


def test_a_second_rotation_waits_for_the_first(tmp_path: Path, clock: Any) -> None:
    keys.load(KeyFiles(tmp_path))
    new = rotate(tmp_path)
    assert keys.rotate(KeyFiles(tmp_path), lead=600, longest=3600) == (new, False)
    clock(601)
    assert rotate(tmp_path).kid != new.kid


def rotate_kid(directory: Path) -> str:
    return keys.rotate(KeyFiles(directory), lead=600, longest=3600)[0].kid


def test_simultaneous_rotations_create_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(rotate_kid, [tmp_path] * 8))) == 1
    assert len(list(tmp_path.glob("*.pem"))) == 2


def test_each_of_several_keys_verifies_until_what_it_signed_has_expired(tmp_path: Path, clock: Any) -> None:
    made = [keys.load(KeyFiles(tmp_path)).signing]
    for number in range(3):
        clock(number * 1000)
        made.append(rotate(tmp_path, lead=600, longest=5000))
    ring = keys.load(KeyFiles(tmp_path))
    assert [key.kid for key in ring.keys] == [key.kid for key in reversed(made)]
    for number, key in enumerate(made[:-1]):
        clock(number * 1000 + 600 + 5000)
        assert ring.verifying(key.kid)
        clock(number * 1000 + 600 + 5000 + 62)
        assert not ring.verifying(key.kid)


def test_there_are_never_more_keys_than_services_accept(tmp_path: Path) -> None:
    for number in range(keys.MAX_KEYS):
        keys.key_create(KeyFiles(tmp_path), signs_from=number)
    with pytest.raises(ValueError, match="Rotate less often"):
        rotate(tmp_path)


def test_the_oldest_key_signs_if_the_clock_is_set_back_before_all_keys(tmp_path: Path) -> None:
    old = keys.key_create(KeyFiles(tmp_path), signs_from=time.time() + 100)
    keys.key_create(KeyFiles(tmp_path), signs_from=time.time() + 200)
    assert keys.read(KeyFiles(tmp_path)).signing.kid == old.kid


def test_a_key_file_contains_the_time_from_which_it_signs(tmp_path: Path) -> None:
    made = keys.key_create(KeyFiles(tmp_path), signs_from=1_800_000_000, earlier_until=1_900_000_000.5)
    path = tmp_path / f"{made.kid}.pem"
    assert path.read_text().startswith("signs-from: 2027-01-15T08:00:00+00:00\nearlier-until: 2030-03-17T17:46:40.5")
    loaded = keys.key_load(KeyFiles(tmp_path), made.kid)
    assert (loaded.signs_from, loaded.earlier_until) == (1_800_000_000, 1_900_000_000.5)
    first = keys.key_load(KeyFiles(tmp_path), keys.key_create(KeyFiles(tmp_path)).kid)
    assert (first.signs_from, first.earlier_until) == (0, math.inf)


def test_a_process_loads_new_keys_without_a_restart() -> None:
    old = runtime().keys.current()
    rotate(settings.KEYS)
    deadline = time.monotonic() + 10
    while runtime().keys.current() is old:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    assert len(kids(runtime().keys.current())) == 2
    same = runtime().keys.current()
    runtime().keys.look()
    assert runtime().keys.current() is same


def test_a_process_drops_a_key_once_it_has_expired(clock: Any) -> None:
    old = runtime().keys.current().signing
    rotate(settings.KEYS)
    runtime().keys.look()
    clock(600 + 3600 + 62)
    runtime().keys.look()
    assert old.kid not in kids(runtime().keys.current())
    assert not (settings.KEYS / f"{old.kid}.pem").exists()


def test_keys_stay_in_use_if_they_cannot_be_read_again(caplog: pytest.LogCaptureFixture) -> None:
    known, folder = runtime().keys.current(), runtime().keys
    bad = write(settings.KEYS, b"nonsense")
    with caplog.at_level(logging.ERROR):
        folder.look()
        folder.look()
    assert [str(bad) in record.getMessage() for record in caplog.records] == [True]
    assert runtime().keys.current() is known
    bad.unlink()
    rotate(settings.KEYS)
    folder.look()
    assert len(kids(runtime().keys.current())) == 2
    for path in settings.KEYS.glob("*.pem"):
        path.unlink()
    with caplog.at_level(logging.ERROR):
        folder.look()
    assert "there are no keys. Restart the gateway to make one." in caplog.records[-1].getMessage()
    assert len(kids(runtime().keys.current())) == 2


def access_token() -> str:
    token = tokens.AccessToken(runtime().token_backend)
    token.payload |= {"sub": "2", "username": "user", "role": "default", "sid": "s"}
    return f"Bearer {token}"


@pytest.mark.django_db
def test_the_command_prints_when_each_key_takes_effect(settings: Any, capsys: Any) -> None:
    old = runtime().keys.current().signing
    call_command("rotate_keys")
    said = capsys.readouterr().out
    new = keys.read(KeyFiles(settings.KEYS)).keys[0]
    assert new.kid != old.kid
    assert new.signs_from - time.time() == pytest.approx(settings.KEY_LEAD_TIME, abs=5)
    assert new.earlier_until - new.signs_from == 14 * 86400 + keys.MARGIN
    assert new.kid in said
    assert keys.format_time(new.signs_from) in said
    assert keys.format_time(new.earlier_until) in said
    call_command("rotate_keys")
    assert "no other key is made" in capsys.readouterr().out
    assert len(list(settings.KEYS.glob("*.pem"))) == 2


def test_the_command_fails_if_there_are_too_many_keys(settings: Any) -> None:
    keys.load(KeyFiles(settings.KEYS))
    for number in range(1, keys.MAX_KEYS):
        keys.key_create(KeyFiles(settings.KEYS), signs_from=number)
    with pytest.raises(CommandError, match="Rotate less often"):
        call_command("rotate_keys")


@pytest.mark.django_db
def test_after_a_theft_nothing_signed_with_the_old_keys_is_valid(settings: Any, client: Client, configure: Any) -> None:
    configure()
    account = Account("2", "user", "default", 0)
    session = sessions.session_create(account=account, client=sessions.Client("192.0.2.1", "test"))
    pair = runtime().sessions.token_pair(account, session)
    token, identity = access_token(), Identity("2", "user", "default", "s")
    passport = runtime().gate.passports.get(identity, "things")
    assert runtime().gate.authentication.verified.identity(token)
    rotate(settings.KEYS)
    stolen = set(keys.read(KeyFiles(settings.KEYS)).keys)
    call_command("rotate_keys", "--stolen")
    runtime().keys.look()
    (key,) = runtime().keys.current().keys
    assert key not in stolen
    assert kids(runtime().keys.current()) == {runtime().keys.current().signing.kid} == {key.kid}
    # Also what was remembered as verified, or minted for a service.
    with pytest.raises(InvalidToken):
        runtime().gate.authentication.verified.identity(token)
    assert runtime().gate.passports.get(identity, "things") != passport
    assert (
        client.post("/api/token/refresh", {"refresh_token": pair.refresh_token}, "application/json").status_code == 401
    )
    assert Session.objects.get().ended_at is not None
    assert runtime().gate.authentication.verified.identity(access_token())


def test_the_key_after_a_theft_ends_the_others_even_if_their_files_remain(tmp_path: Path) -> None:
    """As if the process had been killed before it removed them."""
    old = keys.load(KeyFiles(tmp_path)).signing
    content = (tmp_path / f"{old.kid}.pem").read_bytes()
    new = keys.replace_stolen(KeyFiles(tmp_path))
    (tmp_path / f"{old.kid}.pem").write_bytes(content)
    (tmp_path / f"{old.kid}.pem").chmod(0o600)
    assert kids(keys.read(KeyFiles(tmp_path))) == {new.kid}
    assert keys.read(KeyFiles(tmp_path)).verifying(old.kid) is None


def test_a_token_verified_before_a_rotation_stays_valid() -> None:
    token = access_token()
    rotate(settings.KEYS)
    runtime().keys.look()
    assert runtime().gate.authentication.verified.identity(token)


SECRET = "a secret of at least 32 characters"


@pytest.mark.django_db(transaction=True)
def test_replicas_with_one_database_have_the_same_keys() -> None:
    first, second = keys.load(KeyRows(SECRET)), keys.load(KeyRows(SECRET))
    assert first.signing.kid == second.signing.kid
    new, made = keys.rotate(KeyRows(SECRET), lead=0, longest=3600)
    assert made
    assert kids(keys.read(KeyRows(SECRET))) == {first.signing.kid, new.kid}
    assert keys.replace_stolen(KeyRows(SECRET)).kid == keys.read(KeyRows(SECRET)).signing.kid
    assert len(kids(keys.read(KeyRows(SECRET)))) == 1


@pytest.mark.django_db(transaction=True)
def test_a_copy_of_the_database_without_the_secret_has_no_key() -> None:
    keys.load(KeyRows(SECRET))
    stored = bytes(SigningKey.objects.get().content)
    assert b"PRIVATE KEY" not in stored
    with pytest.raises(ValueError, match="encrypted with another secret"):
        keys.load(KeyRows("another secret of 32 characters or more"))


@pytest.mark.django_db(transaction=True)
def test_a_process_loads_new_keys_of_the_database_by_itself(settings: Any) -> None:
    settings.KEYS_SECRET = SECRET
    process = keys.Keys(key_storage.configured())
    try:
        old = process.current()
        new, _ = keys.rotate(KeyRows(SECRET), lead=0, longest=3600)
        wait_until(lambda: process.current() is not old, "the new key is read")
        assert new.kid in kids(process.current())
    finally:
        process.stop()


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_removed_meanwhile_is_not_read() -> None:
    with pytest.raises(LookupError, match="gone"):
        KeyRows(SECRET).read("gone")


def test_a_mounted_directory_is_only_read(tmp_path: Path, settings: Any) -> None:
    kid = keys.load(KeyFiles(tmp_path)).signing.kid
    # As Kubernetes mounts a Secret: of another owner, readable by a group, a link.
    (tmp_path / f"{kid}.pem").chmod(0o440)
    (tmp_path / ".lock").unlink()
    tmp_path.chmod(0o500)
    settings.KEYS, settings.KEYS_READ_ONLY = tmp_path, True
    storage = key_storage.configured()
    assert keys.load(storage).signing.kid == kid
    assert not (tmp_path / ".lock").exists()
    with pytest.raises(CommandError, match="GATEWAY_KEYS is never written"):
        call_command("rotate_keys")
    (tmp_path / f"{kid}.pem").chmod(0o444)
    with pytest.raises(ValueError, match="others can read this key"):
        keys.load(storage)


def test_a_mounted_directory_without_a_key_is_an_error_and_no_key_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Put a key there: GATEWAY_KEYS is never written"):
        keys.load(KeyFiles(tmp_path, read_only=True))
    assert list(tmp_path.iterdir()) == []


def test_a_mounted_key_that_has_expired_costs_no_new_ring(tmp_path: Path, clock: Any) -> None:
    keys.load(KeyFiles(tmp_path))
    rotate(tmp_path)
    process = keys.Keys(KeyFiles(tmp_path, read_only=True))
    known = process.current()
    clock(600 + 3600 + 62)
    process.look()
    # With another ring, all verified tokens and passports would be forgotten, once a second.
    assert process.current() is known
    assert len(kids(known)) == 1
    assert len(list(tmp_path.glob("*.pem"))) == 2
