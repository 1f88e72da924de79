import threading

import bcrypt
import pytest
from django.contrib.auth import hashers
from django.contrib.auth.hashers import check_password, get_hasher, make_password

from users import passwords, services
from users.models import User
from users.transfer.hashes import imported

from .conftest import put, stored
from .test_api import assert_problem

# What passlib's CryptContext(schemes=["bcrypt"]) stored for "secret", and for 80 times "x".
BCRYPT = "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW"
ARGON2ID = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
# What Django 5.2's own hashers store for "secret", of little work.
PBKDF2 = "pbkdf2_sha256$1000$PZ2gpgLH2KEzZ4vQeBzKsQ$" + "A" * 43 + "="
SCRYPT = "scrypt$16384$PZ2gpgLH2KEzZ4vQeBzKsQ$8$1$" + "A" * 86 + "=="


class DjangosArgon2(hashers.Argon2PasswordHasher):
    memory_cost = 64
    time_cost = 1
    parallelism = 1


def of_django(password: str) -> dict[str, str]:
    """Return what the hashers of Django's PASSWORD_HASHERS store for the password, with little work."""
    salt = "PZ2gpgLH2KEzZ4vQeBzKsQ"
    sha256 = hashers.BCryptSHA256PasswordHasher()
    return {
        "pbkdf2_sha256": hashers.PBKDF2PasswordHasher().encode(password, salt, 1000),
        "scrypt": hashers.ScryptPasswordHasher().encode(password, salt, 2**10, 8, 1),
        "argon2": DjangosArgon2().encode(password, salt),
        "bcrypt_sha256": sha256.encode(password, bcrypt.gensalt(4)),
    }


@pytest.mark.parametrize("kind", ["pbkdf2_sha256", "scrypt", "argon2", "bcrypt_sha256"])
def test_djangos_own_hashes_are_argon2id_of_the_settings_from_the_first_login_on(state, as_gateway, kind):
    old = of_django("old password " + "x" * 80)[kind]
    put(User(username="eva", email="eva@example.com", password=imported(old)))
    assert User.objects.get().password == old
    for password, status in (("old password x", 401), ("old password " + "x" * 80, 200)) * 2:
        answer = as_gateway("POST", "/internal/credentials", {"username": "eva", "password": password})
        assert answer.status_code == status
    assert User.objects.get().password != old
    assert User.objects.get().password.startswith(make_password("x")[:30])


def test_what_djangos_hashers_store_today_is_taken_over():
    """With the iterations and factors that this Django's own hashers have."""
    for hasher in (hashers.PBKDF2PasswordHasher(), hashers.ScryptPasswordHasher()):
        encoded = hasher.encode("secret", "PZ2gpgLH2KEzZ4vQeBzKsQ")
        assert imported(encoded) == encoded
        assert check_password("secret", encoded)


def test_a_failed_login_makes_a_hash_of_each_kind_that_is_stored(state, monkeypatch):
    """Users of one shop have hashes of several kinds, and PBKDF2's of several Django versions."""
    stored = of_django("secret")
    stored["more"] = hashers.PBKDF2PasswordHasher().encode("secret", "salt", 1500)
    for name, encoded in stored.items():
        put(User(username=name, email=f"{name}@example.com", password=encoded))
    spent: dict[str, int] = {}
    for hasher in (
        hashers.PBKDF2PasswordHasher,
        passwords.ImportedScryptHasher,
        hashers.BCryptSHA256PasswordHasher,
        passwords.Argon2idHasher,
    ):
        for method in ("encode", "verify") if hasher is passwords.Argon2idHasher else ("encode",):
            made = getattr(hasher, method)

            def counted(self, *args, made=made):
                count = args[2] if self.algorithm == "pbkdf2_sha256" else 1
                spent[self.algorithm] = spent.get(self.algorithm, 0) + count
                return made(self, *args)

            monkeypatch.setattr(hasher, method, counted)
    for username in (*stored, "unknown"):
        spent.clear()
        assert services.credentials_check(username=username, password="wrong") is None
        assert spent == {"pbkdf2_sha256": 1500, "scrypt": 1, "bcrypt_sha256": 1, "argon2": 1}, username


def test_the_default_is_argon2id_with_owasps_parameters(settings):
    from users_project import environment

    env = environment.Environment.model_fields
    assert [env[f"argon2_{name}"].default for name in ("memory_kib", "time")] == [19456, 2]
    settings.ARGON2 = {"memory_kib": 64, "time": 3}
    assert make_password("x").startswith("argon2$argon2id$v=19$m=64,t=3,p=1$")


def test_a_hash_of_other_parameters_must_be_updated(settings):
    encoded = make_password("x")
    assert not get_hasher().must_update(encoded)
    settings.ARGON2 = {"memory_kib": 64, "time": 1}
    assert get_hasher().must_update(encoded)
    assert get_hasher().verify("x", encoded)


def test_no_more_hashes_are_made_at_once_than_there_are_turns(monkeypatch):
    monkeypatch.setattr(passwords, "hashing", threading.BoundedSemaphore(1))
    done = []
    with passwords.hashing:
        threads = [
            threading.Thread(target=lambda: done.append(passwords.make("x"))),
            threading.Thread(target=lambda: done.append(passwords.check(User(password=encoded), "x"))),
        ]
        encoded = "argon2$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
        for thread in threads:
            thread.start()
        threads[0].join(0.05)
        assert done == []
    for thread in threads:
        thread.join(10)
    assert len(done) == 2


@pytest.fixture
def imported_user(state) -> User:
    """A user with a hash of bcrypt, of the least cost."""
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    return put(User(username="eva", email="eva@example.com", password=imported(hashed)))


def test_an_imported_hash_is_argon2id_from_the_first_login_on(imported_user, as_gateway, record):
    """passlib cut passwords at 72 bytes, so that longer ones have to be right here too."""
    before = stored(record)[0]
    assert before["password"].startswith("bcrypt$$2b$04$")
    refused = as_gateway("POST", "/internal/credentials", {"username": "eva", "password": "x" * 71})
    assert_problem(refused, 401)
    accepted = as_gateway("POST", "/internal/credentials", {"username": "eva", "password": "x" * 80})
    assert (accepted.status_code, accepted.json()["session_epoch"]) == (200, 0)
    after = stored(record)[-1]
    assert after["password"].startswith("argon2$argon2id$")
    assert User.objects.get().check_password("x" * 80)
    assert not User.objects.get().check_password("x" * 72)


@pytest.mark.parametrize(
    ("hashed", "kept"),
    [
        (BCRYPT, f"bcrypt${BCRYPT}"), (f"bcrypt${BCRYPT}", f"bcrypt${BCRYPT}"),
        (BCRYPT.replace("2b", "2y"), f"bcrypt${BCRYPT.replace('2b', '2y')}"), (ARGON2ID, f"argon2{ARGON2ID}"),
        (f"argon2{ARGON2ID}", f"argon2{ARGON2ID}"), (PBKDF2, PBKDF2),
        (PBKDF2.replace("$1000$", "$9999999$"), PBKDF2.replace("$1000$", "$9999999$")), (SCRYPT, SCRYPT),
        (f"bcrypt_sha256${BCRYPT}", f"bcrypt_sha256${BCRYPT}"), ("!", "!"), ("!nothing", "!"),
    ],
)  # fmt: skip
def test_hashes_that_are_taken_over(hashed, kept):
    assert imported(hashed) == kept


@pytest.mark.parametrize(
    ("hashed", "why"),
    [
        ("", "got none"), ("secret", "got no hash of a known form"),
        ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "of the kind 1"),
        ("pbkdf2_sha256$600000$salt$hash", "of the kind pbkdf2_sha256"),
        ("$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A", "of the kind pbkdf2-sha256"),
        (PBKDF2.replace("$1000$", "$10000000$"), "of the kind pbkdf2_sha256"),
        (PBKDF2.replace("$1000$", f"${'9' * 5000}$"), "of the kind pbkdf2_sha256"),
        (PBKDF2.replace("$1000$", "$0$"), "of the kind pbkdf2_sha256"),
        (PBKDF2.replace("=", "A"), "of the kind pbkdf2_sha256"),
        (PBKDF2.replace("PZ2gpgLH2KEzZ4vQeBzKsQ", ""), "of the kind pbkdf2_sha256"),
        (PBKDF2.replace("1000$PZ2gpgLH2KEzZ4vQeBzKsQ", f"10000${'x' * 64}"), "of the kind pbkdf2_sha256"),
        (SCRYPT.replace("$16384$", "$524288$"), "of the kind scrypt"),
        (SCRYPT.replace("$8$1$", "$8$6$"), "of the kind scrypt"),
        (SCRYPT.replace("$8$1$", "$9$1$"), "of the kind scrypt"),
        (f"bcrypt_sha256${BCRYPT.replace('$12$', '$31$')}", "of the kind bcrypt_sha256"),
        (BCRYPT[:-1], "of the kind 2b"), (BCRYPT + "\n", "of the kind 2b"),
        (BCRYPT.replace("$12$", "$31$"), "of the kind 2b"), (BCRYPT.replace("2b", "2x"), "of the kind 2x"),
        (ARGON2ID.replace("m=8", "m=4194304"), "of the kind argon2id"),
        (ARGON2ID.replace("t=1", "t=100"), "of the kind argon2id"),
        (ARGON2ID.replace("p=1", "p=17"), "of the kind argon2id"),
        (ARGON2ID.replace("argon2id", "argon2i"), "of the kind argon2i"),
    ],
)  # fmt: skip
def test_hashes_that_are_refused_with_why_and_without_the_hash(hashed, why):
    with pytest.raises(ValueError, match="expected") as error:
        imported(hashed)
    assert why in str(error.value)
    assert hashed[10:] not in str(error.value) or not hashed[10:]


def test_a_hash_that_gets_no_turn_is_503_with_retry_after(as_gateway, make, monkeypatch):
    make("eva")
    monkeypatch.setattr(passwords, "hashing", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "HASH_WAIT", 0.01)
    body = {"username": "eva", "password": "correct horse 1"}
    with passwords.hashing:
        busy = as_gateway("POST", "/internal/credentials", body)
    assert_problem(busy, 503)
    assert busy["Retry-After"] == "1"
    assert as_gateway("POST", "/internal/credentials", body).status_code == 200


def test_no_turn_is_lost_if_hashing_fails(monkeypatch):
    monkeypatch.setattr(passwords, "hashing", threading.BoundedSemaphore(1))
    with pytest.raises(UnicodeEncodeError):
        passwords.make("\ud800")
    assert passwords.make("x")


# Hashes that the libraries raise for, as only a file edited by hand can have them; an import refuses each.
UNCHECKABLE = [
    f"argon2$argon2id$v=19$m=8,t=1,p=1${'A' * 13}${'A' * 17}",
    "argon2$nothing",
    "argon2$",
    "bcrypt$",
    "bcrypt$$2b$04$short",
    f"bcrypt$$2b$99${'.' * 53}",
    "bcrypt$é",
    "pbkdf2_sha256$",
    "pbkdf2_sha256$x$salt$hash",
    "scrypt$16383$salt$8$1$" + "A" * 86 + "==",
    "bcrypt_sha256$$2b$99$short",
]


@pytest.mark.parametrize("encoded", UNCHECKABLE)
def test_an_uncheckable_hash_is_a_wrong_password_for_that_user_alone(state, make, as_gateway, as_user, caplog, encoded):
    broken = put(User(username="eva", email="eva@example.com", password=encoded))
    make("ada")
    for username in ("eva", "ada", "unknown"):
        wrong = as_gateway("POST", "/internal/credentials", {"username": username, "password": "wrong"})
        assert_problem(wrong, 401)
    assert f"The hash of user {broken.pk} cannot be checked" in caplog.text
    assert not encoded[10:] or encoded[10:] not in caplog.text
    body = {"old_password": "wrong", "new_password": "another horse 2"}
    assert_problem(as_user(broken.pk)("POST", "/api/users/me/password", body), 400, old_password="")
    right = as_gateway("POST", "/internal/credentials", {"username": "ada", "password": "correct horse 1"})
    assert right.status_code == 200
