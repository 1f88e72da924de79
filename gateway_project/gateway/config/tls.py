"""How connections to a service are verified, and how the gateway identifies itself there."""

import re
import ssl
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from .section import Section
from .values import matching, text

SERVER_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")


def readable(value: object) -> str:
    """Return the path of a file that can be read."""
    expected = "the absolute path of a PEM file"
    path = Path(text(value, expected))
    if not path.is_absolute():
        raise ValueError(expected)
    try:
        path.read_bytes()
    except OSError as exc:
        raise ValueError(f"a file that the gateway can read: {exc.strerror}") from exc
    return str(path)


def authorities(value: object) -> str:
    """Return the path of a file with certificates."""
    path = readable(value)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as exc:
        raise ValueError("a PEM file with the certificates of authorities") from exc
    return path


FILE_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": r"^/|\$\{", "examples": ["/etc/gatehouse/ca.pem"]})
CertificateFile = Annotated[str, BeforeValidator(readable), FILE_SCHEMA]
AuthoritiesFile = Annotated[str, BeforeValidator(authorities), FILE_SCHEMA]
ServerName = Annotated[
    str,
    BeforeValidator(matching(SERVER_NAME, "the name in the service's certificate, such as orders.internal")),
    WithJsonSchema({"type": "string", "pattern": rf"^{SERVER_NAME.pattern}$|\$\{{"}),
]


class TLS(Section):
    """How connections to `https` URLs of a service are made."""

    example: ClassVar[str] = "{server_name: orders.internal}"
    ca: AuthoritiesFile | None = Field(None, description="The file of the authorities that may sign its certificate.")
    certificate: CertificateFile | None = Field(
        None, description="The file of the certificate with which the gateway identifies itself to the service."
    )
    key: CertificateFile | None = Field(None, description="The file of the key of `certificate`.")
    server_name: ServerName | None = Field(None, description="The name that the service's certificate has to have.")

    @model_validator(mode="after")
    def check_pair(self) -> "TLS":
        """Check that certificate and key belong together."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("both certificate and key, or neither")
        if self.certificate is not None:
            self.context()
        return self

    def context(self) -> ssl.SSLContext:
        """Return the context of connections; raise `ValueError` if the files have changed and do not fit."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=no_password)
            except (OSError, ValueError) as exc:
                raise ValueError("a certificate and its key, both PEM, the key without a password") from exc
        return context


def no_password() -> str:
    """Raise: OpenSSL would ask at the terminal."""
    raise ValueError
