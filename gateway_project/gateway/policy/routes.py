"""Which route a request is for.

A tree by segment: static before `{param}` before `{rest...}`. Matching takes the steps that the path's own segments
ask for, however many routes there are: each level has at most one static child and one parameter to try.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from gateway.config import RESERVED, Config, Route, patterns

from . import limits
from .cors import CorsPolicy
from .limits import RouteLimits
from .paths import canonical, matched
from .prepared_routes import PreparedRoute
from .rejections import (
    BadRequest,
    MethodNotAllowed,
    MethodNotImplemented,
    RequestRejected,
    RouteNotFound,
    SlashRedirect,
)
from .route_policies import RoutePolicies

# RFC 9110, section 9.3, RFC 5789, and QUERY, which no route can have. Case matters.
KNOWN: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
UNVERSIONED = re.compile(r"/api/(?!v[0-9]+(?:/|$))")


@dataclass(slots=True, eq=False)
class Match:
    """The route, the path that its service is sent, and the parameters, encoded as they were sent.

    `allow` are all methods of the path, as the header has them. With `handles_options` the gateway itself answers an
    OPTIONS, with 204 and `Allow`. `limits` are the route's rate limits; `prepared` is what its requests need.
    """

    route: Route
    prepared: PreparedRoute
    upstream_path: str
    params: dict[str, str]
    allow: str
    handles_options: bool
    # `None` for a route without any.
    policies: RoutePolicies | None = None
    limits: RouteLimits | None = None


class Entry:
    """A route, its pattern, the path that its service receives, and what is prepared for its requests."""

    def __init__(
        self,
        route: Route,
        pattern: patterns.Pattern,
        sent: str,
        limits: RouteLimits | None = None,
        *,
        keeps_host: bool = False,
    ) -> None:
        self.route = route
        self.pattern = pattern
        self.sent = sent
        self.policies = RoutePolicies.of(route)
        self.prepared = PreparedRoute(route, keeps_host=keeps_host, has_policies=self.policies is not None)
        self.limits = limits
        self.named = [
            (each.text, index, each.kind == "param")
            for index, each in enumerate(pattern.segments)
            if each.kind != "static"
        ]
        self.written = [(each.kind == "static", each.text) for each in patterns.parse(sent).segments]
        # Whether the service receives the path as it is matched.
        self.keeps_path = patterns.parse(sent).segments == pattern.segments

    def params(self, segments: list[str]) -> dict[str, str]:
        found = {}
        for name, index, is_one in self.named:
            found[name] = segments[index] if is_one else "/".join(segments[index:])
        return found

    def upstream_path(self, params: dict[str, str]) -> str:
        if not params:
            return self.sent
        return "/" + "/".join([text if is_static else params[text] for is_static, text in self.written])


@dataclass(slots=True)
class Shape:
    """The routes of one shape, by method."""

    by_method: dict[str, Entry] = field(default_factory=dict)
    allow: str = "OPTIONS"

    def add(self, entry: Entry) -> None:
        """Add a route; its HEAD is that of its GET."""
        self.by_method |= dict.fromkeys(entry.route.methods, entry)
        if "GET" in self.by_method:
            self.by_method.setdefault("HEAD", self.by_method["GET"])
        self.allow = ", ".join(sorted({*self.by_method, "OPTIONS"}))

    @property
    def cors(self) -> CorsPolicy | None:
        """The policy of the first of the routes that has one."""
        policies = (entry.policies for entry in self.by_method.values())
        return next((each.cors for each in policies if each and each.cors), None)


@dataclass(slots=True)
class TreeNode:
    """A node of the tree: the shape that ends here, and the next segments."""

    shape: Shape | None = None
    rest: Shape | None = None
    param: "TreeNode | None" = None
    static: "dict[str, TreeNode]" = field(default_factory=dict)

    def place(self, pattern: patterns.Pattern) -> Shape:
        node = self
        for segment in pattern.segments:
            if segment.kind == "rest":
                node.rest = node.rest or Shape()
                return node.rest
            if segment.kind == "param":
                node.param = node.param or TreeNode()
                node = node.param
            else:
                node = node.static.setdefault(segment.text, TreeNode())
        node.shape = node.shape or Shape()
        return node.shape

    def find(self, segments: list[str], index: int = 0) -> Shape | None:
        """Return the most specific shape of the segments from the index on."""
        node, end = self, len(segments)
        while index < end:
            segment = segments[index]
            child = node.static.get(segment)
            if child is None:
                if node.param is None or not segment:
                    return node.rest
                child = node.param
            elif node.param is not None or node.rest is not None:
                # There is another way.
                found = child.find(segments, index + 1)
                if found is None and node.param is not None and segment:
                    found = node.param.find(segments, index + 1)
                return found or node.rest
            if node.rest is not None:
                return child.find(segments, index + 1) or node.rest
            node, index = child, index + 1
        return node.shape


class RouteTable:
    def __init__(self, config: Config) -> None:
        self.current_version = config.current_version
        self.services = config.services
        # Of the gateway's own API, and of paths without a route.
        self.cors = CorsPolicy.of(config.defaults.cors)
        self.root = TreeNode()
        self.own = TreeNode()
        # The paths that services are sent by `rewrite`, each with its route's.
        self.rewritten: dict[str, TreeNode] = {}
        for path in RESERVED:
            self.own.place(patterns.parse(path))
        for route in config.routes:
            pattern = patterns.normalised(patterns.parse(route.path), self.current_version)
            keeps_host = config.services[route.service].host == "keep"
            sent, its_limits = config.upstream_path(route), limits.of_route(route, config)
            entry = Entry(route, pattern, sent, its_limits, keeps_host=keeps_host)
            self.root.place(entry.pattern).add(entry)
            if route.rewrite:
                rewritten = self.rewritten.setdefault(route.service, TreeNode())
                back = Entry(route, patterns.parse(entry.sent), route.path)
                rewritten.place(back.pattern).add(back)

    def match(self, method: str, path: str) -> Match:
        """Return the match of a canonical path.

        Raises `MethodNotImplemented`, `RouteNotFound`, `SlashRedirect` or `MethodNotAllowed`.
        """
        if method not in KNOWN:
            raise MethodNotImplemented
        sent, segments = self.split(path)
        shape = self.root.find(segments)
        if shape is None:
            self.redirect_slash(path)
            raise with_cors(RouteNotFound("No route matches this path."), self.cors)
        entry = shape.by_method.get(method)
        handles_options = entry is None and method == "OPTIONS"
        if handles_options:
            entry = next(iter(shape.by_method.values()))
        if entry is None:
            raise with_cors(MethodNotAllowed(shape.allow), shape.cors)
        params = entry.params(sent)
        # Without escapes, the segments are as the route has them.
        is_same = entry.keeps_path and sent is segments
        upstream_path = "/" + "/".join(sent) if is_same else entry.upstream_path(params)
        return Match(
            entry.route,
            entry.prepared,
            upstream_path,
            params,
            shape.allow,
            handles_options,
            entry.policies,
            entry.limits,
        )

    def redirect_slash(self, path: str) -> None:
        """Raise `SlashRedirect` for a path that is nothing's, where it is something's with or without its last slash.

        What the gateway answers itself counts too.
        """
        other = other_slash(path)
        asked, beside = self.segments(path), self.segments(other)
        if not self.own.find(asked) and ((routed := self.root.find(beside)) or self.own.find(beside)):
            raise with_cors(SlashRedirect(other), routed.cors if routed else self.cors)

    def routes(self, path: str) -> list[Route]:
        """Return the routes of a canonical path, whatever their methods."""
        shape = self.root.find(self.segments(path))
        return [entry.route for entry in dict.fromkeys(shape.by_method.values())] if shape else []

    def is_own(self, path: str) -> bool:
        """Return whether the gateway itself responds to a canonical path."""
        return self.own.find(self.segments(path)) is not None

    def before_rewrite(self, service: str, path: str) -> str:
        """Return the path of the route that a service is sent this path for; one that is routed stays."""
        tree = self.rewritten.get(service)
        if tree is None:
            return path
        segments = path[1:].split("/")
        shape = None if self.root.find(self.segments(path)) else tree.find(segments)
        if shape is None:
            return path
        entry = next(iter(shape.by_method.values()))
        return entry.upstream_path(entry.params(segments))

    def public_path(self, path: str, asked: str) -> str:
        """Return a service's path as clients are to ask for it.

        With its last slash only where it is routed so, and in the current version where `asked`, what the client asked
        for, was. What is not routed stays as it is.
        """
        try:
            asked, found = canonical(asked), canonical(path)
        except BadRequest:
            return path
        if not (self.root.find(self.segments(found)) or self.own.find(self.segments(found))):
            if not self.root.find(self.segments(other_slash(found))):
                return path
            path = other_slash(path)
        version = f"/api/{self.current_version}/"
        if self.current_version and asked.startswith(version) and UNVERSIONED.match(path):
            return version + path.removeprefix("/api/")
        return path

    def segments(self, path: str) -> list[str]:
        return self.split(path)[1]

    def split(self, path: str) -> tuple[list[str], list[str]]:
        """Return the segments as sent and as matched, both without the current version."""
        sent = path[1:].split("/")
        if "%" not in path and ";" not in path:
            sent = patterns.unversioned(sent, self.current_version)
            return sent, sent
        segments = matched(path)[1:].split("/")
        plain = patterns.unversioned(segments, self.current_version)
        return sent if plain is segments else [sent[0], *sent[2:]], plain


def with_cors(rejected: RequestRejected, cors: CorsPolicy | None) -> RequestRejected:
    """Return the rejection with the policy by which pages of other origins may read it."""
    rejected.cors = cors
    return rejected


def other_slash(path: str) -> str:
    return path[:-1] or "/" if path.endswith("/") else f"{path}/"
