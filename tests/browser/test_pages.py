"""The pages as a person uses them."""

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.browser.conftest import Complaints
from tests.conformance.gateways import Gateway
from tests.system.stack import Stack, until


def sign_in(page: Page, username: str = "admin", password: str = "a") -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def token_of(context: BrowserContext, name: str) -> str | None:
    return next((cookie["value"] for cookie in context.cookies() if cookie["name"] == name), None)


def test_a_sign_in_redirects_to_the_requested_page(page: Page, context: BrowserContext, pictures: Path) -> None:
    page.goto("/api/users?limit=1")
    expect(page).to_have_url(re.compile(r"/login/\?next=/api/users%3Flimit%3D1$"))
    page.screenshot(path=pictures / "login.png")
    sign_in(page, password="wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong username or password.")
    page.screenshot(path=pictures / "login-wrong.png")
    sign_in(page)
    expect(page).to_have_url(re.compile(r"/api/users\?limit=1$"))
    expect(page.locator(".gh-user")).to_contain_text("admin")
    page.screenshot(path=pictures / "browsable-api.png")
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in context.cookies())
    assert page.evaluate("document.cookie") == ""
    page.goto("/")
    page.screenshot(path=pictures / "root.png")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.goto("/api/users")
    expect(page).to_have_url(re.compile("/login/"))


def test_the_admin_opens_without_a_second_password(page: Page, pictures: Path) -> None:
    # Typed without its slash.
    page.goto("/admin")
    expect(page).to_have_url(re.compile(r"/login/\?next=/admin/$"))
    sign_in(page)
    expect(page).to_have_url(re.compile("/admin/$"))
    page.locator("#content-start .model-user th a").click()
    expect(page.get_by_role("heading", name="Select user to change")).to_be_visible()
    page.screenshot(path=pictures / "admin.png")
    page.get_by_role("link", name="Add user").click()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password", exact=False).last.fill("correct horse battery")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.goto("/admin/")
    expect(page).to_have_url(re.compile("/login/"))


def test_only_admins_can_open_the_admin(page: Page, complaints: Complaints, pictures: Path) -> None:
    page.goto("/login/")
    sign_in(page, "user", "u")
    expect(page.locator(".gh-user")).to_contain_text("user")
    answer = page.goto("/admin/")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_role("alert")).to_contain_text("role admin; yours is default.")
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    page.screenshot(path=pictures / "forbidden.png")
    page.get_by_role("link", name="Home", exact=True).click()
    expect(page.locator(".gh-user")).to_contain_text("user")


def as_admin(page: Page) -> Callable[..., Any]:
    """Return what calls the API as another admin's program does; it returns what is answered."""
    token = page.request.post("/api/login", data={"username": "admin", "password": "a"}).json()["access_token"]

    def call(method: str, path: str, **body: object) -> Any:
        answer = page.request.fetch(path, method=method, data=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.ok, answer.text()
        return answer.json() if answer.text() else None

    return call


def test_two_admins_do_not_overwrite_each_other_s_changes(page: Page, pictures: Path) -> None:
    page.goto("/login/?next=/admin/users/user/?q=kim")
    other = as_admin(page)
    made = {"username": "kim", "email": "kim@example.com", "password": "correct horse battery"}
    kim = other("POST", "/api/users", **made)["id"]
    sign_in(page)
    page.locator("#result_list").get_by_role("link", name="kim").click()
    page.get_by_label("Email").fill("kim@example.org")
    other = as_admin(page)
    other("PATCH", f"/api/users/{kim}", is_active=False)
    other("PATCH", f"/api/users/{kim}", full_name="Kim")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errorlist.nonfield")).to_contain_text("admin changed this user since you opened the form.")
    expect(page.get_by_label("Is active")).to_be_checked()
    page.get_by_label("Is active").uncheck()
    page.get_by_label("Full name").fill("Kim")
    page.screenshot(path=pictures / "admin-changed-meanwhile.png")
    page.get_by_role("button", name="Save", exact=True).click()
    # Back to what was searched for.
    expect(page).to_have_url(re.compile(r"/admin/users/user/\?q=kim$"))
    other = as_admin(page)
    after = other("GET", f"/api/users/{kim}")
    assert (after["email"], after["full_name"], after["is_active"]) == ("kim@example.org", "Kim", False)
    page.locator("#result_list").get_by_role("link", name="kim").click()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("email: kim@example.com → kim@example.org")).to_be_visible()
    page.screenshot(path=pictures / "admin-history.png")
    page.go_back()
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("Their orders are kept but unreadable")).to_be_visible()
    page.screenshot(path=pictures / "admin-delete.png")
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.get_by_text("was deleted successfully")).to_be_visible()
    page.goto(f"/admin/users/user/{kim}/history/")
    expect(page.get_by_text("doesn’t exist")).to_be_visible()


def test_the_admin_fits_a_phone(chromium: Browser, stack: Stack, pictures: Path) -> None:
    base = f"http://localhost:{stack.ports['gateway']}"
    phone = chromium.new_context(base_url=base, viewport={"width": 360, "height": 780}, color_scheme="light")
    page = phone.new_page()
    page.goto("/login/?next=/admin/users/user/")
    name = "a.user.with.a.long.name"
    made = {"email": f"{name}@a-long-name.example.com", "full_name": "A User with a Long Name"}
    as_admin(page)("POST", "/api/users", username=name, password="correct horse battery", **made)
    sign_in(page)
    row = page.get_by_role("row", name=name)
    expect(row).to_be_visible()
    for element in (page.locator("#result_list"), row, page.locator("#changelist-filter"), page.locator(".actions")):
        assert element.evaluate("element => element.scrollWidth <= element.clientWidth")
        box = element.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    filters, first = page.locator("#changelist-filter").bounding_box(), row.bounding_box()
    assert filters is not None
    assert first is not None
    assert filters["y"] + filters["height"] <= first["y"]
    page.screenshot(path=pictures / "phone-admin.png")
    page.locator("#changelist-filter").get_by_role("link", name="Admin").click()
    expect(row).to_have_count(0)
    phone.close()


def test_swagger_ui_can_log_in_and_send_a_request(page: Page, pictures: Path) -> None:
    page.goto("/login/?next=/docs")
    sign_in(page, "user", "u")
    operation = page.locator(".opblock-get").filter(has_text="/api/orders").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    page.screenshot(path=pictures / "docs.png")
    page.goto("/redoc")
    expect(page.get_by_role("heading", name="Gatehouse").first).to_be_visible()
    page.screenshot(path=pictures / "redoc.png")


def test_a_session_is_renewed_while_it_is_in_use(page: Page, context: BrowserContext) -> None:
    page.goto("/login/?next=/api/orders")
    sign_in(page, "user", "u")
    expect(page.locator(".gh-user")).to_contain_text("user")
    first, refresh = token_of(context, "gatehouse-access"), token_of(context, "gatehouse-refresh")
    until(lambda: token_of(context, "gatehouse-access") is None, 15, "the access token's time is over")
    # Several at once, as tabs do, at the fast door.
    statuses = page.evaluate(
        "Promise.all([1, 2, 3, 4].map(() => fetch('/api/orders', {headers: {Accept: 'application/json'}})"
        ".then(answer => answer.status)))"
    )
    assert statuses == [200] * 4
    assert token_of(context, "gatehouse-access") not in {None, first}
    assert token_of(context, "gatehouse-refresh") != refresh
    page.reload()
    expect(page.locator(".gh-user")).to_contain_text("user")


@pytest.fixture
def other_site(stack: Stack) -> Iterator[str]:
    """Another origin, whose page sends a form to the gateway."""
    page = f"""<!DOCTYPE html><title>elsewhere</title>
      <form method="post" enctype="text/plain" action="http://localhost:{stack.ports["gateway"]}/api/orders">
      <input name='{{"item":"book","address":"' value='x"}}'><button>Win</button></form>"""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_another_origin_cannot_act_for_a_signed_in_user(page: Page, other_site: str) -> None:
    page.goto("/login/")
    sign_in(page, "user", "u")
    expect(page.locator(".gh-user")).to_contain_text("user")
    page.goto(other_site)
    with page.expect_response(re.compile("/api/orders$")) as answered:
        page.get_by_role("button", name="Win").click()
    assert answered.value.status in {401, 403}
    expect(page.get_by_role("main")).to_contain_text(re.compile("403 Forbidden|401 Unauthorized"))


def test_an_admin_can_delete_a_user_in_the_browsable_api(page: Page) -> None:
    page.goto("/login/?next=/")
    made = {"username": "sam", "email": "sam@example.com", "password": "correct horse battery"}
    sam = as_admin(page)("POST", "/api/users", **made)["id"]
    sign_in(page)
    page.goto(f"/api/users/{sam}")
    page.locator("#form-DELETE").click()
    page.get_by_role("button", name="Delete sam").click()
    expect(page.get_by_role("main")).to_contain_text("204 No Content")
    page.reload()
    expect(page).to_have_url(re.compile(f"/api/users/{sam}$"))
    expect(page.get_by_role("alert")).to_contain_text("404 Not Found")


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway in front of a service that answers PUT with HTML and PATCH with what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_html = self.command == "PUT"
            content = b"<h1 id=own>Own</h1>" if is_html else sent or b"[1.10]"
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if is_html else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_PATCH = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        config = {
            "services": {"things": {"url": f"http://127.0.0.1:{server.server_port}"}},
            "routes": [{"path": "/things", "service": "things", "allow": "public", "methods": ["GET", "PUT", "PATCH"]}],
        }
        with Gateway("fast", tmp_path / "var", config) as gateway:
            yield gateway
        server.shutdown()


def test_a_service_s_html_becomes_no_part_of_a_page(page: Page, things: Gateway) -> None:
    page.goto(f"http://localhost:{things.port}/things")
    shown = page.locator(".response-info")
    expect(shown).to_contain_text("1.10")
    page.get_by_label("JSON").first.fill("[2.50]")
    page.get_by_role("button", name="Save changes as JSON").click()
    expect(shown).to_contain_text("2.50")
    page.locator("#form-PUT").click()
    with page.expect_response(lambda response: response.request.method == "POST") as html:
        page.get_by_role("button", name="Replace as JSON").click()
    # A page of its own, without scripts and without the gateway's origin.
    assert html.value.headers["content-security-policy"].startswith("sandbox;")
    expect(page.locator("#own")).to_have_text("Own")
    expect(page.locator("header")).to_have_count(0)


def test_the_pages_fit_a_phone(chromium: Browser, stack: Stack, pictures: Path) -> None:
    base = f"http://localhost:{stack.ports['gateway']}"
    phone = chromium.new_context(base_url=base, viewport={"width": 360, "height": 780}, color_scheme="dark")
    page = phone.new_page()
    for path, name in (
        ("/login/?next=/api/orders", "login"),
        ("/logout/", "logout"),
        ("/api/orders", "orders"),
        ("/api/nothing", "not-found"),
        ("/", "root"),
    ):
        page.goto(path)
        expect(page.locator("body")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.screenshot(path=pictures / f"phone-{name}.png")
        if name == "login":
            sign_in(page, "user", "u")
            expect(page.locator(".gh-user")).to_contain_text("user")
    phone.close()
