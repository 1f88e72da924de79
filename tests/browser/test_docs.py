"""The API documents in a browser: what they ask for, what they show, and what axe finds."""

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect
from tests.browser.conftest import Complaints
from tests.browser.test_people import serious
from tests.system.stack import Stack

# Serious faults of the pages' own programs. Swagger UI: an operation's summary is a button with a button in it. ReDoc:
# the colour of a pattern, which its theme does not set, on a dark page.
SWAGGER_UI = {"nested-interactive"}
REDOC_DARK = {"color-contrast"}


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_of_documents_asks_no_other_host(context: BrowserContext, stack: Stack, path: str) -> None:
    sent: list[str] = []

    def note(request: Request) -> None:
        # Chromium reports a request that the Content-Security-Policy forbids, but does not send it.
        if request.failure != "csp":
            sent.append(request.url)

    context.on("requestfinished", note)
    context.on("requestfailed", note)
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_text("/api/orders", exact=False).first).to_be_attached()
    page.wait_for_load_state("networkidle")
    own = (f"http://localhost:{stack.ports['gateway']}/", "data:", "blob:")
    assert any(url.endswith("/openapi.json") for url in sent)
    assert [url for url in sent if not url.startswith(own)] == []


def test_a_sign_in_asks_for_username_and_password_alone(page: Page) -> None:
    page.goto("/docs")
    page.locator("button.authorize").click()
    dialog = page.locator(".auth-container")
    expect(dialog.get_by_label("username:")).to_be_visible()
    expect(dialog.get_by_label("password:")).to_be_visible()
    expect(dialog.locator("input:visible, select:visible")).to_have_count(2)


def test_a_problem_is_shown_once_in_an_operation(page: Page) -> None:
    page.goto("/docs")
    operation = page.locator(".opblock-post").filter(has_text="/api/orders").first
    operation.locator(".opblock-summary-control").click()
    problems = operation.locator(".responses-table .response").filter(has_text="application/problem+json")
    expect(operation.get_by_text("Too many requests.")).to_be_visible()
    expect(problems.locator(".highlight-code:visible")).to_have_count(1)


@pytest.mark.parametrize(
    ("path", "scheme", "theirs"),
    [
        ("/docs", "light", SWAGGER_UI),
        ("/docs", "dark", SWAGGER_UI),
        ("/redoc", "light", set()),
        ("/redoc", "dark", REDOC_DARK),
    ],
)
def test_axe_finds_no_serious_issue(
    chromium: Browser, stack: Stack, complaints: Complaints, path: str, scheme: str, theirs: set[str]
) -> None:
    base = f"http://localhost:{stack.ports['gateway']}"
    context = chromium.new_context(base_url=base, color_scheme="dark" if scheme == "dark" else "light")
    complaints.watch(context)
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_text("/api/orders", exact=False).first).to_be_attached()
    assert [each for each in serious(page) if each.partition(":")[0] not in theirs] == []
    context.close()
    assert complaints == []
