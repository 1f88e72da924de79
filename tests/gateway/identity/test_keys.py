"""The signing keys."""

import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.identity import keys


def pem(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    ring = keys.load(tmp_path / "keys")
    (path,) = (tmp_path / "keys").glob("*.pem")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stem == ring.signing.kid


def test_a_second_start_finds_the_same_key(tmp_path: Path) -> None:
    first, second = keys.load(tmp_path), keys.load(tmp_path)
    assert first.signing.kid == second.signing.kid
    assert first.jwks() == second.jwks()


def load_kid(directory: Path) -> str:
    return keys.load(directory).signing.kid


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
    old = keys.load(tmp_path).signing
    new = keys.key_create(tmp_path)
    ring = keys.load(tmp_path)
    assert ring.signing.kid == new.kid
    assert ring.verifying(old.kid) is not None
    assert ring.verifying("another") is None
    assert [key["kid"] for key in ring.jwks()["keys"]] == [new.kid, old.kid]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (b"nonsense", 0o600, "expected a PEM private key"),
        (pem(rsa.generate_private_key(65537, 2048)), 0o600, "curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), 0o600, "curve P-256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), 0o644, "only its owner"),
    ],
)
def test_what_is_no_key_of_ours_is_refused_by_name(tmp_path: Path, content: bytes, mode: int, expected: str) -> None:
    path = write(tmp_path, content, mode)
    with pytest.raises(ValueError, match=expected) as refused:
        keys.load(tmp_path)
    assert str(path) in str(refused.value)
