"""Whether a page of the gateway's own made a browser ask, and where a sign-in may lead."""

import re
from collections.abc import Sequence
from typing import Final

from . import paths
from .headers import values
from .rejections import BadRequest, CrossOrigin

# RFC 9110, section 9.2.1.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
MAX_PATH: Final = 2000
# Path, query, fragment. Of what follows the path, printable ASCII without spaces and backslashes.
OWN_PATH = re.compile(r'(?P<path>[^?#]*)(?:\?[!"$-\[\]-~]*)?(?:#[!"$-\[\]-~]*)?')


def needs_same_origin(method: str, headers: Sequence[tuple[str, str]]) -> bool:
    """Return whether the request could do something, so that no other site may have a person's browser send it.

    A WebSocket's handshake is a GET, and no other rule of the browser's keeps another site from it (RFC 6455, 10.2).
    """
    return method not in SAFE_METHODS or bool(values(headers, "upgrade"))


def is_same_origin(headers: Sequence[tuple[str, str]], scheme: str, host: str) -> bool:
    """Return whether a page of this very origin made the request, as the browser says, which no page can change.

    `Sec-Fetch-Site` (Fetch Metadata, section 2.3) and `Origin` (RFC 6454, section 7): what is there has to say so, and
    one of them has to be there. Browsers send `Origin` with each unsafe request.
    """
    sites, origins = values(headers, "sec-fetch-site"), values(headers, "origin")
    own = f"{scheme}://{host}".lower().removesuffix(DEFAULT_PORTS.get(scheme, "\0"))
    return (
        bool(sites or origins)
        and all(site == "same-origin" for site in sites)
        and all(origin.lower() == own for origin in origins)
    )


def check_same_origin(method: str, headers: Sequence[tuple[str, str]], scheme: str, host: str) -> None:
    """Raise `CrossOrigin` if the request is unsafe and no page of this origin sent it."""
    if needs_same_origin(method, headers) and not is_same_origin(headers, scheme, host):
        raise CrossOrigin


def own_path(path: str | None) -> str:
    """Return a path of ours with its query and fragment, to go on to after a sign-in; `/` for anything else.

    Another site begins with `//` or `/\\`, or hides that behind control characters, which browsers leave out. What
    follows the path leads to no other site, and is kept as it is (RFC 3986, sections 3.4 and 3.5).
    """
    found = OWN_PATH.fullmatch(path or "")
    if found is None or len(found[0]) > MAX_PATH:
        return "/"
    try:
        paths.canonical(found["path"])
    except BadRequest:
        return "/"
    return found[0]
