"""A stock service on the chassis in a browser: its forms and its look, with a file, at the gateway."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.test_people import SCREENS, serious
from tests.conformance.gateways import Gateway
from tests.ports import free_port
from tests.system.stack import ROOT
from tests.waiting import wait_until

MAX_BODY = 100_000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the service."""
    folder, port = tmp_path_factory.mktemp("stock"), free_port()
    url = f"http://127.0.0.1:{port}"
    one, every = (
        ["GET", "PUT", "PATCH", "DELETE"],
        {"service": "covers", "allow": "authenticated", "max_body": MAX_BODY},
    )
    config = {
        "services": {"covers": {"url": url, "openapi": "/openapi.json", "health": "/healthz"}},
        "routes": [
            every | {"path": "/covers", "methods": ["GET", "POST"]},
            every | {"path": "/covers/{id}", "methods": one},
        ],
    }
    with Gateway("fast", folder / "var", config) as gateway:
        command = [sys.executable, "-m", "tests.browser.stock_service", str(port), gateway.url]
        with (folder / "service.log").open("wb") as log:
            service = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_until(lambda: responds(f"{url}/healthz"), "the service is up")
            yield gateway
        finally:
            service.terminate()
            service.wait(10)


def responds(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture(params=[("desktop", "light"), ("phone", "dark")], ids="-".join)
def page(request: pytest.FixtureRequest, chromium: Browser, gateway: Gateway) -> Iterator[Page]:
    """A page of a signed-in user's browser."""
    screen, scheme = request.param
    width, height = SCREENS[screen]
    base = f"http://localhost:{gateway.port}"
    context = chromium.new_context(base_url=base, viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(20_000)
    context.add_cookies([{"name": "gatehouse-access", "value": gateway.token(), "url": base}])
    yield context.new_page()
    context.close()


def check(page: Page) -> None:
    expect(page.locator("header.gh-header")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page) == []


def test_a_file_is_uploaded_by_the_form_of_a_service_that_knows_nothing_of_forms(page: Page, tmp_path: Path) -> None:
    wait_until(
        lambda: page.goto("/covers") and page.get_by_label("Image").count(), "the form has the document's fields"
    )
    (tmp_path / "notes.txt").write_bytes(b"text")
    (tmp_path / "dune.png").write_bytes(PNG)
    (tmp_path / "large.png").write_bytes(PNG * MAX_BODY)
    form = page.locator("section", has=page.locator("#form-POST"))
    form.get_by_label("Title").fill("Dune")
    form.get_by_label("Pages").fill("412")
    file = form.get_by_label("Image")
    file.set_input_files(tmp_path / "large.png")
    form.get_by_role("button", name="Send", exact=True).click()
    # The browser keeps the form: nothing is lost.
    assert "together at most" in file.evaluate("element => element.validationMessage")
    file.set_input_files(tmp_path / "notes.txt")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("400 Bad Request")
    expect(form.locator(".error")).to_contain_text("txt")
    expect(form.get_by_label("Title")).to_have_value("Dune")
    expect(form.get_by_label("Pages")).to_have_value("412")
    expect(form).to_contain_text("Choose notes.txt again: files are not kept.")
    check(page)
    file.set_input_files(tmp_path / "dune.png")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("201 Created")
    page.goto("/covers")
    check(page)
    page.locator("table").first.get_by_role("link", name=re.compile(r"^\d+$")).first.click()
    change = page.locator("section", has=page.locator("#form-PATCH"))
    expect(change).to_contain_text("Stored now:")
    change.get_by_label("Title").fill("Dune Messiah")
    change.get_by_role("button", name="Save changes", exact=True).click()
    expect(page.locator("table.object")).to_contain_text("Dune Messiah")
    expect(page.locator("table.object")).to_contain_text("dune")
    check(page)
    page.locator("#form-DELETE").click()
    page.get_by_role("button", name="Delete Dune Messiah").click()
    expect(page.get_by_role("main")).to_contain_text("204 No Content")
