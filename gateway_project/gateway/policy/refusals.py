"""Why a request, or an upstream's answer, goes no further.

Exception
└── Refused                 `status`, `detail` (what was expected) and `headers` of the answer
    ├── SlashRedirect       308  the path is routed with a slash at its end, or without it
    ├── BadRequest          400  the request is malformed or can be read in two ways
    ├── NotSignedIn         401  the route needs someone who is signed in
    ├── InvalidToken        401  there is a token, but not one that holds
    │   └── TokenExpired    401  it has expired
    ├── NotAllowed          403  the one who is signed in has none of the route's roles
    ├── CrossOrigin         403  a cookie says who asks, but no page of ours made the request
    ├── NoRoute             404  nothing is routed at the path
    ├── MethodNotAllowed    405  the path is routed, but not with this method
    ├── BodyLate            408  the body stopped coming
    ├── TooLarge            413  the body is larger than the route takes
    ├── ExpectationFailed   417  the client expects what nobody knows
    ├── Misdirected         421  the target names another scheme than the request came by
    ├── TooMany             429  the rate limit is used up
    ├── MethodUnknown       501  HTTP has no such method
    ├── MemoryFull          503  the worker holds as much for its clients as it may
    ├── BadUpstream         502  the service's answer is malformed
    └── UpstreamFailed      `service` says which
        ├── UpstreamDown        502  it cannot be reached
        ├── UpstreamBroke       502  it broke off, with its answer not whole
        ├── UpstreamFaulty      502  it answered the gateway's own question with an error
        ├── UpstreamRedirects   502  it redirects the path to itself, but for the slash at its end
        ├── PassportRefused     502  the login service does not accept the gateway's own passport
        ├── UpstreamMalformed   502  its answer is no well-formed HTTP
        ├── UpstreamBusy        503  as many requests as it may have at once are under way
        ├── UpstreamUnable      503  it answered the gateway's own question with 503
        ├── GatewayStopped      503  it has not answered by the end of a reload or a stop
        └── UpstreamLate        504  it did not answer in time
"""

import math
from typing import ClassVar


class Refused(Exception):  # noqa: N818  # a decision, not an error of the program
    """The request goes no further; `detail` says what was expected, `code` is stable (docs/problems.md)."""

    status: ClassVar[int]
    code: ClassVar[str] = ""  # the status's own name

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}


class SlashRedirect(Refused):
    """The path is routed with a slash at its end, or without it (RFC 9110, section 15.4.9).

    Clients may keep a 308 for ever, and the next gateway.yaml may route the path: hence `no-store`.
    """

    status = 308

    def __init__(self, location: str) -> None:
        super().__init__(f"This path is {location} here.", {"Location": location, "Cache-Control": "no-store"})
        self.location = location


class BadRequest(Refused):
    """The request is malformed or can be read in two ways (RFC 9110, section 15.5.1)."""

    status = 400
    code = "bad_request"


class NotSignedIn(Refused):
    """The route needs someone who is signed in (RFC 6750, section 3)."""

    status = 401
    code = "not_authenticated"

    def __init__(self, detail: str = "Expected a sign-in: an access token in Authorization: Bearer.") -> None:
        super().__init__(detail, {"WWW-Authenticate": 'Bearer realm="api"'})


class InvalidToken(Refused):
    """There is a token, but it is malformed, expired, revoked or not ours (RFC 6750, section 3.1)."""

    status = 401
    code = "token_invalid"

    def __init__(self, detail: str = "Expected a valid access token.") -> None:
        super().__init__(detail, {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'})


class TokenExpired(InvalidToken):
    """The access token was valid, and has expired: a refresh token buys the next one."""

    code = "token_expired"

    def __init__(self) -> None:
        super().__init__("The access token has expired. Refresh it, or sign in again.")


class NotAllowed(Refused):
    """The one who is signed in has none of the route's roles."""

    status = 403
    code = "permission_denied"


class CrossOrigin(Refused):
    """A cookie says who is asking, and a page of another origin, or none, may have made the browser ask."""

    status = 403
    code = "cross_origin"

    def __init__(
        self, detail: str = "Expected a page of this origin to send this, or an access token in Authorization: Bearer."
    ) -> None:
        super().__init__(detail)


class NoRoute(Refused):
    """Nothing is routed at the path."""

    status = 404
    code = "route_not_found"


class MethodNotAllowed(Refused):
    """The path is routed, but not with this method (RFC 9110, section 15.5.6)."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"Expected one of the methods {allow}.", {"Allow": allow})


class MethodUnknown(Refused):
    """HTTP has no such method (RFC 9110, sections 9.1 and 15.6.2)."""

    status = 501
    code = "method_unknown"

    def __init__(self) -> None:
        super().__init__("Expected a method that HTTP knows.")


class BodyLate(Refused):
    """The client did not send the rest of its body in time (RFC 9110, section 15.5.9)."""

    status = 408
    code = "request_timeout"

    def __init__(self) -> None:
        super().__init__("Expected the rest of the body sooner.")


class TooLarge(Refused):
    """The body is larger than the route takes."""

    status = 413
    code = "content_too_large"

    def __init__(self, max_body: int) -> None:
        super().__init__(f"Expected a body of at most {max_body} bytes.")


class ExpectationFailed(Refused):
    """The client expects something else than to be told to go on (RFC 9110, section 15.5.18)."""

    status = 417
    code = "expectation_failed"

    def __init__(self) -> None:
        super().__init__("Expected no expectation but 100-continue.")


class Misdirected(Refused):
    """The target names another scheme than the one that the request came by (RFC 9110, sections 7.4 and 15.5.20)."""

    status = 421
    code = "misdirected_request"

    def __init__(self, scheme: str) -> None:
        super().__init__(f"The request target names another scheme. Use {scheme}:// or only the path.")


class TooMany(Refused):
    """The rate limit is used up for now (RFC 6585, section 4); `retry_after` is in seconds."""

    status = 429
    code = "rate_limited"

    def __init__(self, retry_after: float) -> None:
        seconds = max(1, math.ceil(retry_after))
        super().__init__(f"Expected fewer requests. Try again in {seconds} s.", {"Retry-After": str(seconds)})


class MemoryFull(Refused):
    """The worker holds as much of its clients' requests and responses as it may (RFC 9110, section 15.6.4)."""

    status = 503
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("Too many request bodies at once. Try again in 1 s.", {"Retry-After": "1"})


class BadUpstream(Refused):
    """The service's answer is malformed."""

    status = 502
    code = "upstream_malformed"


class UpstreamFailed(Refused):
    """A service did not do its part; `service` is its name, `cause` why, where more is known."""

    said: ClassVar[str]
    # Which of the service's addresses failed, for the log.
    address = ""

    def __init__(self, service: str, headers: dict[str, str] | None = None, cause: str = "") -> None:
        super().__init__(f"The {service} service {self.said}", headers)
        self.service = service
        self.cause = cause

    @property
    def reason(self) -> str:
        """What is wrong, after "the service"."""
        said = self.said.partition(". ")[0].rstrip(".")
        return f"{said}: {self.cause}" if self.cause else said


class UpstreamDown(UpstreamFailed):
    """The service cannot be reached: it has heard nothing of the request (RFC 9110, section 15.6.3)."""

    status = 502
    code = "upstream_unreachable"
    said = "cannot be reached. Try again."


class UpstreamBroke(UpstreamFailed):
    """The service closed the connection before its answer was whole (RFC 9110, section 15.6.3)."""

    status = 502
    code = "upstream_disconnected"
    said = "broke off before its answer was whole. What was asked for may have been done."


class UpstreamFaulty(UpstreamFailed):
    """The service answered what the gateway asks for itself with an error (RFC 9110, section 15.6.3)."""

    status = 502
    code = "upstream_error"
    said = "answered with an error"

    def __init__(self, service: str, status: int) -> None:
        super().__init__(service)
        self.detail += f" ({status})."


class UpstreamRedirects(UpstreamFailed):
    """The service wants another slash at the path's end than gateway.yaml: client and gateway would go in circles."""

    status = 502
    code = "upstream_redirect_loop"
    said = (
        "redirects this path to the same one, but for the slash at its end. Write the route's path as the service "
        "does, or trailing_slash: append for the service."
    )


class PassportRefused(UpstreamFailed):
    """The login service does not accept the gateway's own passport, so nobody can sign in."""

    status = 502
    code = "passport_rejected"
    said = "refuses this gateway's passport. Nobody can sign in until its operator has mended that; the log says how."


class UpstreamMalformed(UpstreamFailed):
    """The service's answer is no well-formed HTTP; none of it is passed on (RFC 9110, section 15.6.3)."""

    status = 502
    code = "upstream_malformed"
    said = "gave a malformed answer."


class UpstreamBusy(UpstreamFailed):
    """As many requests as the gateway sends to one address at once are under way (RFC 9110, section 15.6.4)."""

    status = 503
    code = "upstream_busy"
    said = "has too many requests under way. Try again."

    def __init__(self, service: str) -> None:
        super().__init__(service, {"Retry-After": "1"})


class UpstreamUnable(UpstreamFailed):
    """The service cannot do now what the gateway asks for itself; `retry_after` is in seconds (RFC 9110, 15.6.4)."""

    status = 503
    code = "upstream_unavailable"
    said = "cannot do this now. Try again in a moment."

    def __init__(self, service: str, retry_after: int) -> None:
        super().__init__(service, {"Retry-After": str(retry_after)})


class GatewayStopped(UpstreamFailed):
    """The gateway broke the request off, at the end of a reload or a stop: no fault of the service's."""

    status = 503
    code = "gateway_stopped"
    said = "had not answered when the gateway was stopped. What was asked for may have been done."

    def __init__(self, service: str) -> None:
        super().__init__(service, {"Retry-After": "1"})


class UpstreamLate(UpstreamFailed):
    """The service did not answer in time (RFC 9110, section 15.6.5)."""

    status = 504
    code = "upstream_timeout"
    said = "did not answer in time."
