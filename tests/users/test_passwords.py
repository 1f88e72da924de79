import threading

import pytest
from django.contrib.auth.hashers import get_hasher, make_password
from django.core.exceptions import ValidationError

from users import passwords


def test_the_default_is_argon2id_with_owasps_parameters(settings):
    from users_project import environment

    env = environment.Environment.model_fields
    assert [env[f"argon2_{name}"].default for name in ("memory_kib", "time", "parallelism")] == [19456, 2, 1]
    settings.ARGON2 = {"memory_kib": 64, "time": 3, "parallelism": 2}
    assert make_password("x").startswith("argon2$argon2id$v=19$m=64,t=3,p=2$")


def test_a_hash_of_other_parameters_must_be_updated(settings):
    encoded = make_password("x")
    assert not get_hasher().must_update(encoded)
    settings.ARGON2 = {"memory_kib": 64, "time": 1, "parallelism": 1}
    assert get_hasher().must_update(encoded)
    assert get_hasher().verify("x", encoded)


def test_no_more_hashes_are_made_at_once_than_there_are_turns(monkeypatch):
    monkeypatch.setattr(passwords, "hashing", threading.BoundedSemaphore(1))
    done = []
    with passwords.hashing:
        threads = [
            threading.Thread(target=lambda: done.append(make_password("x"))),
            threading.Thread(target=lambda: done.append(get_hasher().verify("x", encoded))),
        ]
        encoded = "argon2$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
        for thread in threads:
            thread.start()
        threads[0].join(0.05)
        assert done == []
    for thread in threads:
        thread.join(10)
    assert len(done) == 2


def test_a_password_has_a_bound():
    passwords.MaximumLengthValidator().validate("x" * 128)
    with pytest.raises(ValidationError, match="at most 128"):
        passwords.MaximumLengthValidator().validate("x" * 129)
