"""`manage.py suggest`: entries of gateway.yaml from a real server's OpenAPI document."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from gateway.config import ConfigError, load

DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "The Library", "version": "1"},
    "paths": {
        "/books/{id}": {"get": {}, "delete": {}, "parameters": []},
        "/books": {"post": {}, "get": {}, "options": {}},
        "/loans/": {"get": {}},
        "/files/{name}.pdf": {"get": {}},
        "/internal": {},
    },
}


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve these bodies by path, and 404 elsewhere; return the server's address."""
    servers = []

    def serve(**bodies: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = bodies.get(self.path[1:].partition(".")[0])
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args: object) -> None:
                """Print nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def suggest(url: str, **options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("suggest", url, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def test_the_entries_are_valid_once_allow_is_filled_in(serve: Callable[..., str], tmp_path: Path) -> None:
    address = serve(openapi=json.dumps(DOCUMENT).encode(), healthz=b"{}")
    text, advice = suggest(f"{address}/openapi.json")
    assert "allow" in advice
    path = tmp_path / "gateway.yaml"
    path.write_text(f"version: 1\n{text}")
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    assert len(refused.value.faults) == 3  # an `allow` each
    path.write_text(f"version: 1\n{text}".replace("allow:", "allow: authenticated"))
    config = load(path, {})
    service = config.services["the-library"]
    assert service.health is not None
    assert (service.openapi, service.health.path) == ("/openapi.json", "/healthz")
    methods = {route.path: set(route.methods) for route in config.routes}
    assert set(methods) == {"/books", "/books/{id}", "/loans/"}
    assert methods["/books"] >= {"GET", "POST"}
    assert methods["/books/{id}"] >= {"GET", "DELETE"}
    assert "# /files/{name}.pdf is left out" in text


def test_a_name_a_base_path_and_a_yaml_document_are_accepted(serve: Callable[..., str]) -> None:
    document = DOCUMENT | {"servers": [{"url": "https://example.org/v2/"}]}
    address = serve(schema=yaml.safe_dump(document).encode())
    text, _ = suggest(f"{address}/schema.yaml", name="books")
    entries = yaml.safe_load(text)
    assert entries["services"] == {"books": {"url": address, "openapi": "/schema.yaml"}}
    assert [route["path"] for route in entries["routes"]] == ["/v2/books", "/v2/books/{id}", "/v2/loans/"]


def test_routes_that_gateway_yaml_already_has_are_left_out_and_listed(
    serve: Callable[..., str], configure: Callable[..., None], tmp_path: Path
) -> None:
    address = serve(openapi=json.dumps(DOCUMENT).encode())
    routes = [
        {"path": "/books", "methods": ["GET"], "service": "shelf", "allow": "public"},
        {"path": "/loans/{rest...}", "service": "shelf", "allow": "public"},
        {"path": "/books/{number}", "methods": ["GET", "DELETE"], "service": "shelf", "allow": "public"},
    ]
    configure(services={"shelf": {"url": ["http://127.0.0.1:9", address]}}, routes=routes)
    text, _ = suggest(f"{address}/openapi.json")
    assert "# gateway.yaml has the service shelf already, at this URL." in text
    assert "# /books: gateway.yaml routes GET already" in text
    assert yaml.safe_load(text) == {
        "routes": [{"path": "/books", "methods": ["POST"], "service": "shelf", "allow": None}]
    }


def test_a_service_that_gateway_yaml_has_completely_adds_nothing(
    serve: Callable[..., str], configure: Callable[..., None]
) -> None:
    address = serve(openapi=json.dumps(DOCUMENT | {"paths": {"/books": {"get": {}, "head": {}}}}).encode())
    configure(
        services={"shelf": {"url": address}},
        routes=[{"path": "/books", "methods": ["GET"], "service": "shelf", "allow": "public"}],
    )
    text, advice = suggest(f"{address}/openapi.json")
    assert "There is no route to add." in text
    assert (yaml.safe_load(text), advice) == (None, "")


def test_a_path_of_the_gateways_own_is_left_out(serve: Callable[..., str]) -> None:
    document = DOCUMENT | {"paths": {"/healthz": {"get": {}}, "/books": {"get": {}}}}
    address = serve(openapi=json.dumps(document).encode())
    text, _ = suggest(f"{address}/openapi.json")
    assert "# /healthz is left out: the gateway uses this path itself" in text
    assert [route["path"] for route in yaml.safe_load(text)["routes"]] == ["/books"]


def test_a_name_that_another_service_has_is_an_error(serve: Callable[..., str], configure: Callable[..., None]) -> None:
    address = serve(openapi=json.dumps(DOCUMENT).encode())
    configure(services={"the-library": {"url": "http://127.0.0.1:9"}}, routes=[])
    with pytest.raises(CommandError, match=r"service the-library at http://127\.0\.0\.1:9\. Choose another name"):
        suggest(f"{address}/openapi.json")
    assert "service: library-2" in suggest(f"{address}/openapi.json", name="library-2")[0]


def test_an_invalid_gateway_yaml_is_reported_and_does_not_stop_the_command(
    serve: Callable[..., str], settings: Any, tmp_path: Path
) -> None:
    address = serve(openapi=json.dumps(DOCUMENT).encode())
    settings.GATEWAY_CONFIG = tmp_path / "missing.yaml"
    text, notes = suggest(f"{address}/openapi.json")
    assert "  - path: /books" in text
    assert "missing.yaml:1:1: No such file" in notes


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "neither JSON nor YAML"),
        (b"\xff\xfe\xff", "neither JSON nor YAML"),
        (b"[]", "has no paths"),
        (b'{"paths": []}', "has no paths"),
        (None, "responds with 404"),
    ],
)
def test_what_is_not_a_document_is_an_error(serve: Callable[..., str], body: bytes | None, message: str) -> None:
    address = serve(**({} if body is None else {"openapi": body}))
    with pytest.raises(CommandError, match=message):
        suggest(f"{address}/openapi.json")


@pytest.mark.parametrize(("url", "message"), [("openapi.json", "is not an http"), ("http://127.0.0.1:9/x", "reached")])
def test_a_url_that_leads_nowhere_is_an_error(url: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        suggest(url)
