"""What a person does from the first page to the last, on a desktop and on a phone, in light and in dark."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from tests.browser.conftest import Complaints
from tests.shares import long
from tests.system.stack import Stack, until

SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
# Each screen and each scheme once; the other two pairs are long.
LOOKS = ["desktop-light", "phone-dark", *long(["desktop-dark", "phone-light"])]
Check = Callable[[str], None]


@pytest.fixture(params=LOOKS)
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


class Keyboard:
    """A person without a mouse: Tab to reach, Enter to use, and the keys to type."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def reach(self, target: Locator) -> None:
        """Press Tab until the element has the focus, which must be visible."""
        expect(target).to_be_attached()
        for _ in range(200):
            if target.evaluate("element => element === document.activeElement"):
                break
            self.page.keyboard.press("Tab")
        expect(target).to_be_focused()
        assert target.evaluate("element => element.matches(':focus-visible')")

    def use(self, target: Locator) -> None:
        self.reach(target)
        self.page.keyboard.press("Enter")

    def fill(self, target: Locator, text: str) -> None:
        self.reach(target)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)


def test_the_keyboard_alone_is_enough(person: BrowserContext, look: str) -> None:
    page = person.new_page()
    keys = Keyboard(page)
    banner, main, links = page.get_by_role("banner"), page.get_by_role("main"), page.get_by_role("navigation")
    page.goto("/")
    keys.use(banner.get_by_role("link", name="Sign in"))
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type("a")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Hello, admin")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    keys.use(main.get_by_role("link", name="/api/users", exact=True))
    name = f"kit-{look}"
    form = page.locator("section", has=page.locator("#form-POST"))
    for label, text in (("Username", name), ("Email", f"{name}@example.com"), ("Password", "kit")):
        keys.fill(form.get_by_label(label), text)
    page.keyboard.press("Enter")
    expect(form.locator(".error")).to_contain_text("too short")
    keys.fill(form.get_by_label("Password"), "correct horse battery")
    keys.use(form.get_by_role("button", name="Send", exact=True))
    expect(main).to_contain_text("201 Created")
    keys.use(banner.get_by_role("link", name="Gatehouse"))
    keys.use(main.get_by_role("link", name="/api/orders", exact=True))
    keys.fill(form.get_by_label("Item"), "pen")
    keys.fill(form.get_by_label("Address"), "Main street 2")
    keys.use(form.get_by_role("button", name="Send", exact=True))
    expect(main).to_contain_text("201 Created")
    keys.use(links.get_by_role("link", name="/api/orders", exact=True))
    keys.use(page.locator("summary", has_text="Filter"))
    keys.reach(page.get_by_label("Status"))
    page.keyboard.type("Cancelled")
    keys.use(page.get_by_role("button", name="Apply"))
    expect(page).to_have_url(re.compile(r"/api/orders\?status=cancelled$"))
    keys.use(page.get_by_role("link", name="Show all"))
    page.request.post("/api/login", data={"username": "admin", "password": "a"}, headers={"User-Agent": "curl/8"})
    keys.use(links.get_by_role("link", name="Sessions"))
    keys.use(page.get_by_role("button", name="End the session curl").first)
    expect(page.get_by_role("status")).to_have_text("One session has ended.")
    keys.use(banner.get_by_role("link", name="Admin"))
    keys.use(main.get_by_role("link", name="Users").last)
    keys.fill(page.locator("#searchbar"), name)
    page.keyboard.press("Enter")
    keys.use(page.get_by_role("link", name=name, exact=True))
    keys.fill(page.get_by_label("Full name"), "Kit")
    keys.use(page.get_by_role("button", name="Save", exact=True))
    expect(page.locator(".messagelist")).to_contain_text("was changed successfully")
    keys.use(banner.get_by_role("button", name="Sign out"))
    expect(page.get_by_role("status")).to_have_text("You are signed out.")


def test_a_wide_table_shows_that_it_scrolls_and_takes_the_focus(person: BrowserContext, look: str) -> None:
    page = person.new_page()
    page.goto("/login/?next=/api/users")
    sign_in(page, "admin", "a")
    table = page.get_by_role("region", name="Results")
    # On a desktop that depends on the users of other tests.
    scrolls = table.evaluate("element => element.scrollWidth > element.clientWidth")
    assert scrolls or not look.startswith("phone")
    expect(table).to_have_attribute("tabindex", "0" if scrolls else "-1")
    assert "gradient" in table.evaluate("element => getComputedStyle(element).backgroundImage")
    if scrolls:
        Keyboard(page).reach(table)
        page.keyboard.press("ArrowRight")
        until(lambda: table.evaluate("element => element.scrollLeft > 0"), 15, "the table scrolls")


def test_what_can_be_done_with_an_order_is_a_link_on_its_page(page: Page) -> None:
    page.goto("/login/?next=/api/orders")
    sign_in(page, "user", "u")
    page.get_by_label("Item").fill("lamp")
    page.get_by_label("Address").fill("Main street 4")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("link", name="Open /api/orders/").click()
    page.get_by_role("link", name="Cancel the order").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("table.object")).to_contain_text("cancelled")


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
