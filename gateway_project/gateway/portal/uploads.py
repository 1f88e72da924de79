"""A body of `multipart/form-data` for a service (RFC 7578), read piece by piece from the files that a browser sent."""

import re
import secrets
from collections.abc import Iterable
from io import BytesIO, RawIOBase
from typing import IO, Any, Final, NamedTuple, cast

from django.core.files.uploadedfile import UploadedFile

MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
# HTML, "multipart form data": what is escaped in a name.
ESCAPES: Final = {"\r": "%0D", "\n": "%0A", '"': "%22"}


class Part(NamedTuple):
    """A field's text, or a file; then `text` is the file's name."""

    name: str
    text: str
    file: "UploadedFile[bytes] | None" = None


class Multipart(RawIOBase):
    """The parts as one body of a known length."""

    def __init__(self, parts: Iterable[Part]) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = 0
        self.sources: list[IO[bytes]] = []
        for part in parts:
            self.add(f"--{boundary}\r\n{_head(part)}\r\n\r\n")
            if part.file is None:
                self.add(part.text)
            else:
                self.sources.append(cast("IO[bytes]", part.file))
                self.length += part.file.size or 0
            self.add("\r\n")
        self.add(f"--{boundary}--\r\n")

    def add(self, text: str) -> None:
        content = text.encode()
        self.sources.append(BytesIO(content))
        self.length += len(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # anything that is a buffer
        """Read from the first source that has anything left; 0 at the end."""
        while self.sources:
            if piece := self.sources[0].read(len(buffer)):
                buffer[: len(piece)] = piece
                return len(piece)
            self.sources.pop(0)
        return 0


def _head(part: Part) -> str:
    disposition = f'Content-Disposition: form-data; name="{_escaped(part.name)}"'
    if part.file is None:
        return disposition
    given = part.file.content_type or ""
    media_type = given if MEDIA_TYPE.fullmatch(given) else "application/octet-stream"
    return f'{disposition}; filename="{_escaped(part.text)}"\r\nContent-Type: {media_type}'


def _escaped(name: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in name)
