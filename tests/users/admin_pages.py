"""The admin's pages as a browser sees them: what they show, and what is sent back."""

import html
import re

from django.http import HttpResponse
from django.test import Client
from tests.issuer import Issuer

from users.models import User

LIST = "/admin/users/user/"
FORM = {"username": "ada", "email": "ada@example.com", "full_name": "Ada", "user_type": "default", "is_active": "on"}


def passport(issuer: Issuer, user_id: int, role: str = "admin", **claims: object) -> dict[str, str]:
    made = issuer.passport(user_id, **{"audience": "users", "role": role} | claims)
    return {"Authorization": f"Bearer {made}", "Request-User-Id": str(user_id)}


def page(response: HttpResponse) -> str:
    assert response.status_code == 200, response.content
    text = response.content.decode()
    assert "argon2" not in text
    return text


def version(browser: Client, user_id: int) -> str:
    """Return what the form of the user says hidden."""
    return re.search(r'name="version" value="([0-9a-f]+)"', page(browser.get(f"{LIST}{user_id}/change/")))[1]


def said(browser: Client) -> str:
    return page(browser.get(LIST))


def form_of(text: str) -> dict[str, str]:
    """Return what a browser sends of the user's form on that page."""
    form = re.search(r'<form [^>]*id="user_form".*?</form>', text, re.DOTALL)[0]
    sent = {}
    for field in re.findall(r"<input [^>]*>", form):
        found = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', field)}
        if found.get("type") == "checkbox":
            if re.search(r"\bchecked\b", field):
                sent[found["name"]] = found.get("value", "on")
        elif found.get("type") != "submit":
            sent[found["name"]] = found.get("value", "")
    for name, options in re.findall(r'<select name="(\w+)"(.*?)</select>', form, re.DOTALL):
        sent[name] = re.search(r'value="(\w+)" selected', options)[1]
    return sent


def errors(text: str) -> str:
    return html.unescape(re.search(r'<ul class="errorlist nonfield[^>]*>.*?</ul>', text, re.DOTALL)[0])


def shown_to(browser: Client, user: User) -> tuple[str, dict[str, str]]:
    path = f"{LIST}{user.pk}/change/"
    return path, form_of(page(browser.get(path)))
