"""All known attacks on tokens, and malformed tokens of many kinds: the gateway must accept none of them.

A forgery is the value of `Authorization`, or only the token in it, made of what an attacker can know: the gateway's
public key, and a token of their own. Those that are `signed` show what is checked in addition to the signature.
"""

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.conformance.gateways import Gateway
from tests.conformance.tokens import public_pem

Json = Any


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(content: Json) -> str:
    """Return one part of a token; bytes go as they are."""
    return base64url(content if isinstance(content, bytes) else json.dumps(content).encode())


# Seconds: more than a run of all tests takes, since the forgeries are made at its start.
DAY = 24 * 60 * 60


class Forger:
    """The keys and claims for forgeries against one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.kid, self.key = gateway.signing_key()
        self.pem = public_pem(self.key)
        self.mine = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.good = gateway.token("1", "admin")
        # Lines that other tests have caused are not counted.
        self.logged = len(gateway.log_lines())

    @property
    def header(self) -> dict[str, Json]:
        return {"alg": "ES256", "typ": "JWT", "kid": self.kid}

    def claims(self, **claims: Json) -> dict[str, Json]:
        """Return the claims of a valid token, with the given ones instead; `None` leaves one out."""
        said = self.gateway.claims("1", "admin") | claims
        return {name: value for name, value in said.items() if value is not None}

    def token(self, header: Json = None, payload: Json = None, *, key: Any = None, alg: str = "ES256") -> str:
        """Return a token of that header and payload (bytes, or JSON), signed with the gateway's key or another."""
        header = self.header if header is None else header
        said = f"{part(header)}.{part(self.claims() if payload is None else payload)}"
        if isinstance(key, bytes):
            signature = hmac.new(key, said.encode(), alg.replace("HS", "sha")).digest()
        else:
            signature = jwt.get_algorithm_by_name(alg).sign(said.encode(), key or self.key)
        return f"{said}.{base64url(signature)}"

    def signed(self, **claims: Json) -> str:
        """Return a token of the gateway's own key, with the given claims instead of valid ones."""
        return self.token(payload=self.claims(**claims))

    def raw(self, name: str, value: str) -> str:
        """Return the same, with what Python's JSON would not write."""
        rest = json.dumps({key: known for key, known in self.claims().items() if key != name})
        return self.token(payload=f'{rest[:-1]}, "{name}": {value}}}'.encode())

    def headed(self, **header: Json) -> str:
        """Return a token of the gateway's own key, with those names in its header."""
        return self.token(self.header | header)

    def own(self, **header: Json) -> str:
        """Return a token of the attacker's key, with those names in its header."""
        return self.token(self.header | header, key=self.mine)

    def parts(self) -> list[str]:
        return self.good.split(".")

    def jwk(self, key: Any = None) -> dict[str, Json]:
        return dict(json.loads(jwt.get_algorithm_by_name("ES256").to_jwk((key or self.mine).public_key())))

    def certificate(self) -> str:
        """Return the attacker's certificate as `x5c` has it (RFC 7515, section 4.1.6)."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gatehouse")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(name, name, self.mine.public_key(), 1, now, now + timedelta(days=1))
        der = made.sign(self.mine, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        return base64.b64encode(der).decode()

    def flipped(self, place: int, position: int) -> str:
        """Return a good token, with one bit of a character in one part flipped."""
        parts = self.parts()
        position %= len(parts[place])
        # The lowest bits of a part's last character may be padding, which some decoders ignore: flip the highest.
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        turned = alphabet[alphabet.index(parts[place][position]) ^ 32]
        parts[place] = parts[place][:position] + turned + parts[place][position + 1 :]
        return ".".join(parts)


Forgery = Callable[[Forger], str]
NONE = ["none", "None", "NONE", "nOnE", "none ", "", "NULL", "null\0"]
KIDS: dict[str, Json] = {
    "unknown": "unknown", "empty": "", "a number": 1, "null": None, "true": True, "a list": ["a"],
    "an object": {"a": 1},
    "a path": "../../../../dev/null", "an absolute path": "/dev/null", "a file address": "file:///dev/null",
    "an address": "http://127.0.0.1:9/key", "SQL": "' UNION SELECT 'secret' -- ", "a command": "$(id)", "NUL": "key\0",
    "not ASCII": "ключ", "a lone surrogate": "\ud800", "long": "k" * 3000, "a nested list": [[[[["a"]]]]],
    "a huge number": 10**300, "a pattern": ".*", "a template": "{{7*7}}",
}  # fmt: skip
MOMENTS = {
    "a string": '"4102444800"', "a float far off": "1e300", "infinite": "1e400", "minus infinite": "-1e400",
    "Infinity": "Infinity",
    "NaN": "NaN", "null": "null", "a list": "[4102444800]", "an object": "{}", "a huge integer": "1" + "0" * 400,
    "true": "true", "words": '"tomorrow"', "negative": "-1" + "0" * 30,
}  # fmt: skip
NO_STRINGS: dict[str, Json] = {
    "a number": 1,
    "null": None,
    "true": True,
    "a list": ["admin"],
    "an object": {"admin": True},
}


def algorithms() -> dict[str, Forgery]:
    """Forgeries of the algorithm, and keys of other kinds."""
    found: dict[str, Forgery] = {}
    for alg in NONE:
        said = f"alg {alg!r}"
        found[f"{said} without a signature"] = lambda f, alg=alg: f"{part(f.header | {'alg': alg})}.{part(f.claims())}."
        found[f"{said} with a signature"] = lambda f, alg=alg: f.headed(alg=alg)
    for alg in ("ES256K", "ES384", "ES512", "RS256", "PS256", "HS256", "HS512", "EdDSA", "es256", "ES256 ", "RSA1_5"):
        found[f"our signature said to be of {alg}"] = lambda f, alg=alg: f.headed(alg=alg)
    for value in (1, None, True, ["ES256"], {"ES256": 1}):
        found[f"alg {value!r}"] = lambda f, value=value: f.headed(alg=value)

    def with_secret(alg: str, secret: Callable[[Forger], bytes]) -> Forgery:
        return lambda f: f.token(f.header | {"alg": alg}, key=secret(f), alg=alg)

    secrets: dict[str, Callable[[Forger], bytes]] = {
        "the public key": lambda f: f.pem,
        "the public key without its last line's end": lambda f: f.pem.strip(),
        "the published key": lambda f: json.dumps(f.jwk(f.key)).encode(),
        "an empty word": lambda f: b"",
        "the kid": lambda f: f.kid.encode(),
    }
    for alg in ("HS256", "HS384", "HS512"):
        for name, secret in secrets.items():
            found[f"{alg} with {name} for a secret"] = with_secret(alg, secret)
    found["RS256 with an RSA key"] = lambda f: f.token(f.header | {"alg": "RS256"}, key=f.rsa, alg="RS256")
    for curve, alg in ((ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512"), (ec.SECP256K1(), "ES256K")):
        found[f"{alg} with a key of its curve"] = lambda f, curve=curve, alg=alg: f.token(
            f.header | {"alg": alg}, key=ec.generate_private_key(curve), alg=alg
        )
    found["no alg"] = lambda f: f.token({"typ": "JWT", "kid": f.kid})
    return found


def keys() -> dict[str, Forgery]:
    """Forgeries of the key's id, and keys inside the token."""
    found: dict[str, Forgery] = {
        f"a kid that is {name}": lambda f, kid=kid: f.headed(kid=kid) for name, kid in KIDS.items()
    }
    return found | {
        "no kid": lambda f: f.token({"alg": "ES256", "typ": "JWT"}),
        "a kid with a path to ours": lambda f: f.headed(kid=f"../keys/{f.kid}"),
        "a kid with the file's name": lambda f: f.headed(kid=f"{f.kid}.pem"),
        "our kid in another case": lambda f: f.headed(kid=f.kid.swapcase()),
        "our kid with a space": lambda f: f.headed(kid=f"{f.kid} "),
        "another key under our kid": lambda f: f.own(),
        "its own key in jwk": lambda f: f.own(jwk=f.jwk()),
        "its own key in jwk, named": lambda f: f.own(jwk=f.jwk() | {"kid": "mine"}, kid="mine"),
        "its own key in jwk, without kid": lambda f: f.token({"alg": "ES256", "jwk": f.jwk()}, key=f.mine),
        "a secret in jwk": lambda f: f.token(
            f.header | {"alg": "HS256", "jwk": {"kty": "oct", "k": base64url(b"secret" * 8)}},
            key=b"secret" * 8,
            alg="HS256",
        ),
        "an address of keys in jku": lambda f: f.own(jku="http://127.0.0.1:9/jwks.json"),
        "our own address with more in jku": lambda f: f.own(jku=f"{f.gateway.url}/.well-known/jwks.json#@evil.example"),
        "a certificate's address in x5u": lambda f: f.own(x5u="http://127.0.0.1:9/cert.pem"),
        "a certificate in x5c": lambda f: f.own(x5c=[f.certificate()]),
        "a certificate's thumbprint": lambda f: f.own(**{"x5t#S256": base64url(b"x" * 32)}),
    }  # fmt: skip


def claims() -> dict[str, Forgery]:
    """Tokens signed by the gateway's key that are not valid access tokens."""
    now = int(time.time())
    found: dict[str, Forgery] = {
        "another issuer": lambda f: f.signed(iss="someone"),
        "an issuer that begins like ours": lambda f: f.signed(iss="gatehouse.evil.example"),
        "several issuers": lambda f: f.signed(iss=["gatehouse", "someone"]),
        "a refresh token": lambda f: f.signed(token_type="refresh", aud=None),
        "a passport": lambda f: f.signed(token_type="passport", aud="echo"),
        "another type": lambda f: f.signed(token_type="Access"),
        "an exp in the past": lambda f: f.signed(exp=now - 1),
        "an exp of 0": lambda f: f.signed(exp=0),
        "an iat in the future": lambda f: f.signed(iat=now + DAY),
        "an nbf in the future": lambda f: f.signed(nbf=now + DAY),
        "an unknown extension that is critical": lambda f: f.headed(crit=["exp"], exp=1),
        "a crit that is empty": lambda f: f.headed(crit=[]),
        "a crit that is not a list": lambda f: f.headed(crit="b64"),
        "a payload that is not encoded": lambda f: f.headed(b64=False, crit=["b64"]),
        "a payload that is said not to be encoded": lambda f: f.headed(b64=False),
        "two types, the last one another": lambda f: f.raw("token_type", '"access", "token_type": "refresh"'),
        "two algorithms, the last one none": lambda f: f.token(
            f'{{"alg": "ES256", "kid": "{f.kid}", "alg": "none"}}'.encode()
        ),
        "a token inside a token": lambda f: f.token(f.header | {"cty": "JWT"}, f.good.encode()),
    }
    for name in ("iss", "sub", "username", "role", "sid", "jti", "iat", "exp", "token_type"):
        found[f"no {name}"] = lambda f, name=name: f.signed(**{name: None})
    for name in ("sub", "username", "role", "sid"):
        for kind, value in NO_STRINGS.items():
            found[f"a {name} that is {kind}"] = lambda f, n=name, v=value: f.raw(n, json.dumps(v))
    for name in ("exp", "iat", "nbf"):
        for kind, text in MOMENTS.items():
            found[f"an {name} that is {kind}"] = lambda f, n=name, t=text: f.raw(n, t)
    return found


def forms() -> dict[str, Forgery]:
    """Text that does not have the form of a token (RFC 7515, section 3.1)."""
    found: dict[str, Forgery] = {
        "one part": lambda f: f.parts()[0],
        "two parts": lambda f: ".".join(f.parts()[:2]),
        "two parts and a dot": lambda f: ".".join(f.parts()[:2]) + ".",
        "four parts": lambda f: f"{f.good}.{f.parts()[2]}",
        "five parts, as of an encrypted token": lambda f: f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..a.b.c",
        "a dot in front": lambda f: f".{f.good}",
        "a dot behind": lambda f: f"{f.good}.",
        "dots alone": lambda f: "..",
        "JSON serialization": lambda f: json.dumps(
            {"protected": f.parts()[0], "payload": f.parts()[1], "signature": f.parts()[2]}
        ),
        "no header": lambda f: f".{f.parts()[1]}.{f.parts()[2]}",
        "no payload": lambda f: f"{f.parts()[0]}..{f.parts()[2]}",
        "a header that is not base64": lambda f: f"@@@@.{f.parts()[1]}.{f.parts()[2]}",
        "a payload that is not base64": lambda f: f"{f.parts()[0]}.@@@@.{f.parts()[2]}",
        "a signature that is not base64": lambda f: ".".join([*f.parts()[:2], "@@@@"]),
        "a header of one character": lambda f: f"a.{f.parts()[1]}.{f.parts()[2]}",
        "all of one character": lambda f: "a.a.a",
        "the standard alphabet": lambda f: f"{f.parts()[0]}.{f.parts()[1]}.{'+/' * 43}",
        "a signature in DER": lambda f: ".".join(
            [*f.parts()[:2], base64url(f.key.sign(".".join(f.parts()[:2]).encode(), ec.ECDSA(hashes.SHA256())))]
        ),
        "a signature of zeros": lambda f: ".".join([*f.parts()[:2], base64url(bytes(64))]),
        "a signature that is too long": lambda f: ".".join([*f.parts()[:2], base64url(bytes(128))]),
        "a signature cut short": lambda f: f.good[:-4],
        "a signature of another token": lambda f: ".".join([*f.parts()[:2], f.signed().split(".")[2]]),
        "a payload of another token": lambda f: ".".join([f.parts()[0], f.signed().split(".")[1], f.parts()[2]]),
        "a large token": lambda f: f.signed(more="m" * 5000)[:-8] + "A" * 8,
        "a large header": lambda f: f.token(f.header | {"kid": "k", "more": "m" * 5000}),
        "not ASCII": lambda f: f.good[:-1] + "é",
        "letters that look like others": lambda f: f.good[:-1] + "\xb5",
        "a space amid the token": lambda f: f"{f.good[:20]} {f.good[20:]}",
        "a tab amid the token": lambda f: f"{f.good[:20]}\t{f.good[20:]}",
        "percent-encoded": lambda f: f.good.replace(".", "%2E"),
        "in quotes": lambda f: f'"{f.good}"',
    }  # fmt: skip
    headers: dict[str, Json] = {
        "a list": [], "a string": "ES256", "a number": 5, "null": b"null", "empty": b"", "no JSON": b"{alg:ES256}",
        "cut short": b'{"alg": "ES256"', "not UTF-8": b'{"alg": "\xff\xfe"}',
        "UTF-16": '{"alg": "ES256"}'.encode("utf-16"),
        "nested deeply": b"[" * 2000, "nested deeply and closed": b'{"a":' * 900 + b"1" + b"}" * 900,
        "with a byte order mark": b'\xef\xbb\xbf{"alg": "ES256"}', "a long number": b'{"alg": ' + b"9" * 2500 + b"}",
        "NUL": b"\0",
    }  # fmt: skip
    for name, content in headers.items():
        found[f"a header that is {name}"] = lambda f, content=content: f.token(content)
        found[f"a payload that is {name}"] = lambda f, content=content: f.token(
            None, content if content != [] else b"[]"
        )
    for place, of in enumerate(("header", "payload", "signature")):
        for position in (0, 1, 7, 20, 40, 63, -1):
            found[f"a bit turned at {position} of the {of}"] = lambda f, a=place, b=position: f.flipped(a, b)
    return found


# The token alone.
FORGERIES: dict[str, Forgery] = algorithms() | keys() | claims() | forms()

# The whole value of Authorization.
SCHEMES: dict[str, Forgery] = {
    "Bearer alone": lambda f: "Bearer",
    "two tokens": lambda f: f"Bearer {f.good} {f.good}",
    "two tokens with a comma": lambda f: f"Bearer {f.good},{f.good}",
    "two schemes": lambda f: f"Bearer {f.good}, Basic eDp5",
    "Bearer twice": lambda f: f"Bearer Bearer {f.good}",
    "a colon after Bearer": lambda f: f"Bearer: {f.good}",
    "an equals sign after Bearer": lambda f: f"Bearer={f.good}",
    "Bearer without a space": lambda f: f"Bearer{f.good}",
    "a scheme that is not ours": lambda f: f"Token {f.good}",
    "Basic": lambda f: f"Basic {base64.b64encode(b'admin:a').decode()}",
    "Basic with a token for a password": lambda f: f"Basic {base64.b64encode(f'x:{f.good}'.encode()).decode()}",
    "the token alone": lambda f: f.good,
    "a comma in front": lambda f: f",Bearer {f.good}",
    "a no-break space": lambda f: f"Bearer\xa0{f.good}",
    "DPoP": lambda f: f"DPoP {f.good}",
}
