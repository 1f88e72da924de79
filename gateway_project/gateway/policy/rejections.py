"""Every way in which a request, or a service's response, is rejected.

Exception
└── RequestRejected                 `status`, `code`, `detail` and `headers` of the response
    ├── SlashRedirect               308  the path is routed with a trailing slash, or without it
    ├── BadRequest                  400  the request is malformed or ambiguous
    ├── MalformedBody               400  the body is not JSON, which the service's OpenAPI document wants
    ├── RequestInvalid              400  the service's OpenAPI document does not allow the request
    ├── Unauthenticated             401  the route requires authentication
    ├── InvalidToken                401  the token is not valid
    │   └── TokenExpired            401  the token has expired
    ├── Forbidden                   403  the user has none of the route's roles
    ├── AddressForbidden            403  the client's address is in none of the route's networks
    ├── CrossOrigin                 403  the request carries a cookie but comes from another site
    ├── RouteNotFound               404  no route matches the path
    ├── MethodNotAllowed            405  the route does not accept the method
    ├── RequestTimeout              408  the client stopped sending the body
    ├── ContentTooLarge             413  the body exceeds the route's `max_body`
    ├── ExpectationFailed           417  the `Expect` header is not supported
    ├── Misdirected                 421  the target names a different scheme
    ├── RateLimited                 429  the rate limit is used up
    ├── MethodNotImplemented        501  the method is not an HTTP method
    ├── MemoryFull                  503  the worker's bound on buffered bodies is reached
    ├── InvalidUpstreamResponse     502  the service's response is malformed
    └── UpstreamError               `service` is the service's name
        ├── UpstreamConnectError    502  no connection could be made
        ├── UpstreamDisconnected    502  the connection closed before the response was complete
        ├── UpstreamErrorResponse   502  a request of the gateway's own got an error response
        ├── UpstreamRedirects       502  the service redirects to the same path, trailing slash aside
        ├── PassportRejected        502  the login service does not accept the gateway's passport
        ├── UpstreamProtocolError   502  the response violates HTTP
        ├── UpstreamOverloaded      503  too many requests to the service are in flight
        ├── CircuitOpen             503  the service's only address has failed repeatedly
        ├── UpstreamUnavailable     503  a request of the gateway's own got a 503
        ├── GatewayStopped          503  the gateway stopped before the service responded
        └── UpstreamTimeout         504  the service did not respond in time
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from chassis.statuses import code_of_status

if TYPE_CHECKING:
    from .access import Identity
    from .cors import CorsPolicy

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
QUOTA_TITLE: Final = "Request cannot be satisfied as assigned quota has been exceeded"


class RequestRejected(Exception):
    """A decision to reject a request: `detail` is for people, `code` is stable (docs/problems.md)."""

    status: ClassVar[int]
    code: ClassVar[str] = ""  # the status's own name
    # The key of the route in gateway.yaml that rejects, if one does.
    policy: ClassVar[str] = ""
    # Of the path, where no route is found.
    cors: "CorsPolicy | None" = None
    # The user, if the request was identified before it was rejected.
    identity: "Identity | None" = None
    # The names of the limits that are used up.
    limits: Sequence[str] = ()

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        # Members of the problem beside those of every problem, or instead of them.
        self.extensions: dict[str, object] = {}

    @property
    def problem_code(self) -> str:
        return self.code or code_of_status(self.status)


class SlashRedirect(RequestRejected):
    """The path is routed with a trailing slash, or without it (RFC 9110, section 15.4.9).

    A client may cache a 308 forever, but the next gateway.yaml may route the path: hence `no-store`.
    """

    status = 308

    def __init__(self, location: str) -> None:
        super().__init__(f"This path is routed as {location}.", {"Location": location, "Cache-Control": "no-store"})
        self.location = location


class BadRequest(RequestRejected):
    status = 400
    code = "bad_request"


class MalformedBody(RequestRejected):
    status = 400
    code = "malformed_body"


class RequestInvalid(RequestRejected):
    """The service's OpenAPI document does not allow the request: the messages, by field."""

    status = 400
    code = "validation_failed"

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items()))
        self.extensions = {"errors": errors}


class Unauthenticated(RequestRejected):
    status = 401
    code = "not_authenticated"
    policy = "allow"

    def __init__(
        self, detail: str = "Authentication required. Send an access token: `Authorization: Bearer <token>`."
    ) -> None:
        super().__init__(detail, {"WWW-Authenticate": 'Bearer realm="api"'})


class InvalidToken(RequestRejected):
    status = 401
    code = "token_invalid"

    def __init__(self, detail: str = "The access token is not valid. Sign in again.") -> None:
        super().__init__(detail, {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'})


class TokenExpired(InvalidToken):
    """The access token was valid and has expired; a refresh token gets a new one."""

    code = "token_expired"

    def __init__(self) -> None:
        super().__init__("The access token has expired. Refresh it, or sign in again.")


class Forbidden(RequestRejected):
    status = 403
    code = "permission_denied"
    policy = "allow"


class AddressForbidden(RequestRejected):
    status = 403
    code = "address_not_allowed"
    policy = "allow_from"

    def __init__(self, address: str) -> None:
        super().__init__(f"Requests from {address} are not allowed here. Send them from a network that is.")


class CrossOrigin(RequestRejected):
    status = 403
    code = "cross_origin"

    def __init__(
        self,
        detail: str = "A cookie is accepted only from this site's own pages. "
        "Send an access token: `Authorization: Bearer <token>`.",
    ) -> None:
        super().__init__(detail)


class RouteNotFound(RequestRejected):
    status = 404
    code = "route_not_found"


class MethodNotAllowed(RequestRejected):
    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"Method not allowed. Use {allow}.", {"Allow": allow})


class MethodNotImplemented(RequestRejected):
    status = 501
    code = "method_unknown"

    def __init__(self) -> None:
        super().__init__("Unknown HTTP method.")


class RequestTimeout(RequestRejected):
    status = 408
    code = "request_timeout"

    def __init__(self) -> None:
        super().__init__("Timed out reading the request body. Send it faster.")


class ContentTooLarge(RequestRejected):
    status = 413
    code = "content_too_large"
    policy = "max_body"

    def __init__(self, max_body: int) -> None:
        super().__init__(f"The body is too large. Send at most {max_body} bytes.")


class ExpectationFailed(RequestRejected):
    status = 417
    code = "expectation_failed"

    def __init__(self) -> None:
        super().__init__("Unsupported `Expect` header: only `100-continue` is accepted.")


class Misdirected(RequestRejected):
    status = 421
    code = "misdirected_request"

    def __init__(self, scheme: str) -> None:
        super().__init__(f"The request target names another scheme. Use {scheme}:// or only the path.")


class RateLimited(RequestRejected):
    """The rate limit is used up (RFC 6585, section 4); `retry_after` is in seconds.

    With the names of the used up limits, the problem is draft-ietf-httpapi-ratelimit-headers-11's (section 5.1).
    """

    status = 429
    code = "rate_limited"
    policy = "rate_limit"

    def __init__(
        self, retry_after: float, limits: Sequence[str] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        seconds = max(1, math.ceil(retry_after))
        said = {"Retry-After": str(seconds)} | (headers or {})
        super().__init__(f"Too many requests. Try again in {seconds} s.", said)
        if limits is not None:
            self.extensions = {"type": QUOTA_EXCEEDED, "title": QUOTA_TITLE, "violated-policies": list(limits)}


class MemoryFull(RequestRejected):
    """The worker buffers as many request and response bytes as it may (RFC 9110, section 15.6.4)."""

    status = 503
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("Too many request bodies at once. Try again in 1 s.", {"Retry-After": "1"})


class InvalidUpstreamResponse(RequestRejected):
    status = 502
    code = "upstream_malformed"


class UpstreamError(RequestRejected):
    """A service failed. `service` is its name; `cause` is the reason, if it is known."""

    problem: ClassVar[str]
    # Which of the service's addresses failed, for the log, and all tries.
    address = ""
    tries: Sequence[tuple[str, str, float]] = ()

    def __init__(self, service: str, headers: dict[str, str] | None = None, cause: str = "") -> None:
        super().__init__(f"The {service} service {self.problem}", headers)
        self.service = service
        self.cause = cause

    @property
    def reason(self) -> str:
        """The problem without advice, to follow "the service"."""
        problem = self.problem.partition(". ")[0].rstrip(".")
        return f"{problem}: {self.cause}" if self.cause else problem


class UpstreamConnectError(UpstreamError):
    status = 502
    code = "upstream_unreachable"
    problem = "cannot be reached. Try again later."


class UpstreamDisconnected(UpstreamError):
    status = 502
    code = "upstream_disconnected"
    problem = "closed the connection before its response was complete. The request may have been processed."


class UpstreamErrorResponse(UpstreamError):
    status = 502
    code = "upstream_error"
    problem = "responded with an error"

    def __init__(self, service: str, status: int) -> None:
        super().__init__(service)
        self.detail += f" ({status})."


class UpstreamRedirects(UpstreamError):
    status = 502
    code = "upstream_redirect_loop"
    problem = (
        "redirects this path to the same path, trailing slash aside. Write the route's path as the service does, "
        "or set trailing_slash: append for the service."
    )


class PassportRejected(UpstreamError):
    status = 502
    code = "passport_rejected"
    problem = (
        "rejects this gateway's passport. Sign-ins fail until an operator fixes the configuration; "
        "see the gateway's log."
    )


class UpstreamProtocolError(UpstreamError):
    status = 502
    code = "upstream_malformed"
    problem = "sent a malformed response."


class UpstreamOverloaded(UpstreamError):
    status = 503
    code = "upstream_busy"
    problem = "has too many requests in flight. Try again later."

    def __init__(self, service: str) -> None:
        super().__init__(service, {"Retry-After": "1"})


class CircuitOpen(UpstreamError):
    status = 503
    code = "upstream_ejected"
    problem = "has failed repeatedly and gets no requests for now. Try again later."

    def __init__(self, service: str, retry_after: int, cause: str = "") -> None:
        super().__init__(service, {"Retry-After": str(retry_after)}, cause)


class UpstreamUnavailable(UpstreamError):
    """A request of the gateway's own got a 503; `retry_after` is in seconds (RFC 9110, section 15.6.4)."""

    status = 503
    code = "upstream_unavailable"
    problem = "cannot handle the request now. Try again later."

    def __init__(self, service: str, retry_after: int) -> None:
        super().__init__(service, {"Retry-After": str(retry_after)})


class GatewayStopped(UpstreamError):
    status = 503
    code = "gateway_stopped"
    problem = "had not responded when the gateway stopped. The request may have been processed."

    def __init__(self, service: str) -> None:
        super().__init__(service, {"Retry-After": "1"})


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    problem = "did not respond in time. Try again later."
