"""What a person does from the first page to the last, on a desktop and on a phone, in light and in dark."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.browser.conftest import Complaints
from tests.system.stack import Stack

SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
Check = Callable[[str], None]


@pytest.fixture(params=[f"{screen}-{scheme}" for screen in SCREENS for scheme in ("light", "dark")])
def look(request: pytest.FixtureRequest) -> str:
    """A screen and the system's scheme."""
    return str(request.param)


@pytest.fixture
def person(chromium: Browser, stack: Stack, complaints: Complaints, look: str) -> Iterator[BrowserContext]:
    """A browser with that screen."""
    screen, _, scheme = look.partition("-")
    width, height = SCREENS[screen]
    context = chromium.new_context(
        base_url=f"http://localhost:{stack.ports['gateway']}",
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(20_000)
    complaints.watch(context)
    yield context
    context.close()
    assert complaints == []


@pytest.fixture
def check(person: BrowserContext, pictures: Path, look: str) -> Check:
    """Check a page: nothing is wider than the screen, axe finds nothing serious; and take its picture."""
    page = person.new_page()

    def look_at(name: str) -> None:
        expect(page.locator("header.gh-header")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        page.screenshot(path=pictures / f"{look}-{name}.png", full_page=True)
        assert serious(page) == [], name

    return look_at


def serious(page: Page) -> list[str]:
    """Return what axe finds that keeps people from using the page."""
    axe = Axe()
    # The search field of Django's admin is named by a picture, which axe does not count.
    options = {"resultTypes": ["violations"], "rules": {"label-title-only": {"enabled": False}}}
    found = axe.run(page, options=options).response["violations"]
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def sign_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def test_a_person_uses_it_all(person: BrowserContext, check: Check, look: str) -> None:
    page = person.pages[0]
    page.goto("/")
    check("home-visitor")
    page.get_by_role("banner").get_by_role("link", name="Sign in").click()
    check("sign-in")
    sign_in(page, "admin", "a")
    expect(page.get_by_role("heading", name="Hello, admin")).to_be_visible()
    check("home")
    name = f"kim-{look}"
    creates_a_user(page, check, name)
    places_an_order(page, check)
    edits_the_user(page, check, name)
    ends_a_session(page, check)
    page.get_by_role("banner").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.goto("/api/nothing")
    check("not-found")


def creates_a_user(page: Page, check: Check, name: str) -> None:
    """Create a user by the form, with a mistake at first; then change it by the form, which is filled in."""
    page.get_by_role("link", name="/api/users", exact=True).click()
    form = page.locator("section", has=page.locator("#form-POST"))
    form.get_by_label("Username").fill(name)
    form.get_by_label("Email").fill(f"{name}@example.com")
    form.get_by_label("Password").fill("kim")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("400 Bad Request")
    expect(form.locator(".error")).to_contain_text("too short")
    expect(form.get_by_label("Username")).to_have_value(name)
    check("create-a-user-mistake")
    form.get_by_label("Password").fill("correct horse battery")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("201 Created")
    check("create-a-user")
    page.get_by_role("link", name="Open /api/users/").click()
    form = page.locator("section", has=page.locator("#form-PATCH"))
    expect(form.get_by_label("Username")).to_have_value(name)
    form.get_by_label("Full name").fill("Kim")
    form.get_by_role("button", name="Save changes", exact=True).click()
    expect(page.locator("table.object")).to_contain_text("Kim")
    check("change-a-user")


def places_an_order(page: Page, check: Check) -> None:
    """Place an order, and filter the list."""
    page.goto("/api/orders")
    form = page.locator("section", has=page.locator("#form-POST"))
    form.get_by_label("Item").fill("book")
    form.get_by_label("Address").fill("Main street 1")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("201 Created")
    page.goto("/api/orders")
    expect(page.get_by_role("cell", name="book").first).to_be_visible()
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Status").select_option("Cancelled")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"/api/orders\?status=cancelled$"))
    expect(page.get_by_role("cell", name="book")).to_have_count(0)
    check("orders-filtered")
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("cell", name="book").first).to_be_visible()
    check("orders")


def ends_a_session(page: Page, check: Check) -> None:
    """End a program's session."""
    page.request.post("/api/login", data={"username": "admin", "password": "a"}, headers={"User-Agent": "curl/8"})
    page.get_by_role("navigation", name="Gateway").get_by_role("link", name="Sessions").click()
    check("sessions")
    page.get_by_role("button", name="End the session curl").first.click()
    expect(page.get_by_role("status")).to_have_text("One session has ended.")
    page.get_by_role("navigation", name="Gateway").get_by_role("link", name="Audit").click()
    page.get_by_label("Event").select_option("sessions_ended")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("cell", name="sessions: 1").first).to_be_visible()
    check("audit")


def edits_the_user(page: Page, check: Check, name: str) -> None:
    """Change the user in the admin."""
    page.goto(f"/admin/users/user/?q={name}")
    check("admin-users")
    page.get_by_role("link", name=name).click()
    page.get_by_label("Full name").fill("Kim in the admin")
    check("admin-user")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was changed successfully")


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    """Typed from the first page on: the skip link, the sign-in, a form."""
    page.goto("/login/?next=/api/orders")
    page.keyboard.type("user")
    page.keyboard.press("Tab")
    page.keyboard.type("u")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/api/orders$"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    field = page.get_by_label("Item")
    for _ in range(60):
        page.keyboard.press("Tab")
        if field.evaluate("element => element === document.activeElement"):
            break
    expect(field).to_be_focused()
    page.keyboard.type("pen")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Main street 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("201 Created")


def test_scripts_are_needed_for_nothing_but_the_api_documents(chromium: Browser, stack: Stack) -> None:
    base = f"http://localhost:{stack.ports['gateway']}"
    plain = chromium.new_context(base_url=base, java_script_enabled=False, reduced_motion="reduce")
    page = plain.new_page()
    page.goto("/login/?next=/api/orders")
    sign_in(page, "user", "u")
    page.get_by_label("Item").fill("ink")
    page.get_by_label("Address").fill("Main street 3")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("201 Created")
    page.goto("/docs")
    assert "This page needs scripts" in page.content()
    plain.close()
