"""Makes the pictures of README and docs, `./manage_all.sh screenshots`: of a stack of its own, in Chromium.

python -m tests.browser.screenshots [FOLDER]     default: docs/pictures
"""

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tests.suites import find_chromium
from tests.system.stack import ROOT, Stack

SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
MAX_BYTES = 150_000
# Seconds of requests that the dashboard shows.
USED_FOR = 60
ORDERS = [("Dune", 1, "Main street 1"), ("Tea, 100 g", 2, "Main street 1"), ("Lamp", 1, "Harbour road 7")]


def fill(stack: Stack) -> None:
    """Place the orders that the pictures show."""
    token = stack.login("user", "u")
    for item, quantity, address in ORDERS:
        body = {"item": item, "quantity": quantity, "address": address}
        assert stack.ask("POST", "/api/orders", body, token=token).status == 201


def use(stack: Stack) -> None:
    """Send the requests that the dashboard shows, for some of its slots."""
    tokens = stack.login("admin", "a"), stack.login("user", "u")
    until = time.monotonic() + USED_FOR
    number = 0
    while time.monotonic() < until:
        number += 1
        # Users are for admins: a rejection now and then.
        stack.ask("GET", "/api/users?limit=5", token=tokens[number % 25 == 0])
        if number % 50 == 0:
            stack.ask("GET", "/api/orders", token=tokens[1])


def sign_in(page: Page, username: str, password: str) -> None:
    page.goto("/login/?next=/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name=f"Hello, {username}").wait_for()


def take(page: Page, path: Path) -> None:
    page.screenshot(path=path)
    size = path.stat().st_size
    assert size < MAX_BYTES, f"{path} has {size} bytes"


def take_all(browser: Browser, base_url: str, folder: Path) -> None:
    for screen, (width, height) in SCREENS.items():
        for scheme in SCHEMES:
            context = browser.new_context(
                base_url=base_url, viewport={"width": width, "height": height}, color_scheme=scheme, locale="en"
            )
            page = context.new_page()
            sign_in(page, "user", "u")
            take(page, folder / f"home-{screen}-{scheme}.png")
            page.goto("/api/orders")
            take(page, folder / f"orders-{screen}-{scheme}.png")
            page.goto("/docs")
            page.locator(".opblock").first.wait_for()
            take(page, folder / f"docs-{screen}-{scheme}.png")
            context.clear_cookies()
            sign_in(page, "admin", "a")
            page.goto("/admin/users/user/")
            take(page, folder / f"admin-{screen}-{scheme}.png")
            page.goto("/gateway/")
            page.get_by_text("Updated").wait_for()
            take(page, folder / f"dashboard-{screen}-{scheme}.png")
            context.close()


def main(folder: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        sys.exit("Chromium is not installed. Install it (Debian: apt-get install chromium).")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as var:
        stack = Stack(Path(var))
        try:
            stack.up()
            fill(stack)
            use(stack)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                take_all(browser, f"http://localhost:{stack.ports['gateway']}", folder)
                browser.close()
        finally:
            stack.down()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures")
