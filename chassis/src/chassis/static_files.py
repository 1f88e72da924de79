"""Static files that browsers keep: a page's URLs have a digest of the file, so a changed file has another URL.

No build step: the digest is in the query, and the files stay where their packages have them. A project names both
classes in its settings: `FingerprintStorage` in `STORAGES`, and `KeepStaticFiles` before what serves the files, such as
WhiteNoise's middleware.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponse

from .middleware import Middleware

DIGITS: Final = 12
YEAR: Final = 365 * 24 * 3600


@cache
def digest(name: str) -> str:
    """Return the digest of a static file, empty without such a file. A process reads each file once."""
    path = finders.find(name)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:DIGITS] if path and Path(path).is_file() else ""


class FingerprintStorage(StaticFilesStorage):
    """Adds the file's digest to its URL."""

    def url(self, name: str | None) -> str:
        url = super().url(name)
        found = digest(name) if name else ""
        return f"{url}?v={found}" if found else url


class KeepStaticFiles(Middleware):
    """Lets a browser keep a file for a year if the URL has its digest.

    While two versions run side by side, a request may reach the other version. Its response is not kept.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        path, root = request.path_info, str(settings.STATIC_URL)
        if path.startswith(root) and response.status_code in {200, 304} and "v" in request.GET:
            is_current = request.GET["v"] == digest(path.removeprefix(root))
            response.headers["Cache-Control"] = f"max-age={YEAR}, public, immutable" if is_current else "no-store"
        return response
