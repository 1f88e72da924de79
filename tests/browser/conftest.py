"""A real stack with short access tokens, and Debian's Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from tests.system.stack import ROOT, Stack
from tests.waiting import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Seconds an access token holds here: long enough to fill in a form, short enough to be waited for.
TTL = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests out where there is no Chromium, unless it is required."""
    if CHROMIUM or os.environ.get("BROWSER_TESTS") == "required":
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="no Chromium is installed here"))


def has_documents(stack: Stack) -> bool:
    """Return whether responses of the gateway, whichever worker sends them, have each service's document."""
    return all("x-incomplete" not in stack.ask("GET", "/openapi.json").text for _ in range(20))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three, up and ready."""
    running = Stack(tmp_path_factory.mktemp("var"), {"ACCESS_TOKEN_TTL": str(TTL), "GATEWAY_WORKERS": "2"})
    try:
        running.up()
        wait_until(lambda: has_documents(running), "the documents that the forms of pages are made of")
        yield running
    finally:
        running.down()
    assert running.processes() == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium, without a sandbox of its own: it may run as root in a container."""
    assert CHROMIUM, "expected Chromium (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("GATEHOUSE_VAR") or ROOT / "var") / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Complaints(list[str]):
    """What the browser's console says against a Content-Security-Policy or of an icon, and scripts that failed."""

    def watch(self, context: BrowserContext) -> None:
        """Listen to every page of the context."""
        context.on("console", lambda message: self.note(message.text, message.location["url"]))
        context.on("weberror", lambda error: self.append(str(error.error)))

    def note(self, text: str, url: str) -> None:
        """Keep it if it is about the policy; that ReDoc's advertisement is kept from loading is what it is for."""
        advertisement = "https://cdn.redoc.ly/redoc/logo-mini.svg" in text
        if ("Content Security Policy" in text and not advertisement) or url.endswith("/favicon.ico"):
            self.append(f"{url}: {text}")


@pytest.fixture
def complaints() -> Complaints:
    """None, at the end of a test that is well."""
    return Complaints()


@pytest.fixture
def context(chromium: Browser, stack: Stack, complaints: Complaints) -> Iterator[BrowserContext]:
    """A fresh browser profile, for this gateway."""
    base = f"http://localhost:{stack.ports['gateway']}"
    context = chromium.new_context(base_url=base, viewport={"width": 1200, "height": 800})
    context.set_default_timeout(15_000)
    expect.set_options(timeout=15_000)
    complaints.watch(context)
    yield context
    context.close()
    assert complaints == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab."""
    return context.new_page()
