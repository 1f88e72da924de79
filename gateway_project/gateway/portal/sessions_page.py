"""The page of a user's sessions: where they are signed in, and the way to end it. Admins have it for any user."""

from typing import Any

from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from rest_framework.exceptions import APIException

from gateway.identity import sessions
from gateway.policy import access
from gateway.policy.access import Identity
from gateway.policy.rejections import RequestRejected, Unauthenticated

from . import browsers
from .api_page import PageRequest
from .context import WebRequest
from .devices import device
from .drf import problem_of
from .sign_in import Page, Redirect, check_origin, duration, form

MAX_SHOWN = 100
PATH = "/sessions/"


class SessionsPage(Page):
    """Lists the open sessions, this one marked; ends one, or all others."""

    def get(self, request: WebRequest) -> HttpResponse:
        """Return the page; a visitor signs in first."""
        if request.gateway.signed_in() is None and request.gateway.runtime.config.login:
            return Redirect(f"/login/?next={PATH}")
        return self.page(request)

    def post(self, request: WebRequest) -> HttpResponse:
        """End the sessions that the form names: one by its id, or `others`."""
        check_origin(request)
        sent = form(request)
        identity = _signed_in(request.gateway.identify())
        user_id = _user_of(identity, sent.get("user", ""))
        session_id = sent.get("end", "")
        ended = _end(user_id, session_id, kept_session=identity.session)
        sessions.log_ends(ended, user_id=user_id, by=identity, address=request.gateway.headers.address)
        if session_id == identity.session:
            response = Redirect("/login/?signed-out")
            browsers.cookies_drop(response, request.gateway.origin()[0])
            return response
        return Redirect(f"{PATH}?ended={ended}" + (f"&user={user_id}" if user_id != identity.user_id else ""))

    def page(
        self, request: WebRequest, problem: APIException | None = None, fields: QueryDict | None = None
    ) -> HttpResponse:
        """Return the page."""
        shown: dict[str, Any] = {}
        try:
            identity = _signed_in(request.gateway.signed_in())
            shown = _shown(request, identity, _user_of(identity, request.GET.get("user", "")))
        except RequestRejected as exc:
            problem = problem or problem_of(exc, request.method)
        shown["problem"] = problem.detail if problem else ""
        return render(request, "gateway/sessions.html", shown, status=problem.status_code if problem else 200)


def _signed_in(identity: Identity | None) -> Identity:
    if identity is None:
        raise Unauthenticated
    return identity


def _user_of(identity: Identity, user_id: str) -> str:
    """Return whose sessions are meant; raise `Forbidden` for another's, unless an admin asks."""
    if user_id in {"", identity.user_id}:
        return identity.user_id
    access.check(("admin",), identity)
    # As it stands in the page and in a redirect.
    return user_id if user_id.isalnum() else ""


def _end(user_id: str, session_id: str, *, kept_session: str) -> int:
    if session_id == "others":
        return sessions.other_sessions_end(user_id=user_id, kept_session=kept_session)
    if not sessions.open_sessions(user_id).filter(id=session_id).exists():
        return 0
    sessions.session_end(session_id=session_id)
    return 1


def _shown(request: WebRequest, identity: Identity, user_id: str) -> dict[str, Any]:
    found = sessions.open_sessions(user_id)[: MAX_SHOWN + 1]
    rows = [
        {
            "id": session.id,
            "device": device(session.user_agent),
            "address": session.client_address,
            "began": session.created_at,
            "refreshed": session.last_used_at,
            "current": session.id == identity.session,
        }
        for session in found
    ]
    rows.sort(key=lambda row: not row["current"])
    is_own = user_id == identity.user_id
    return {
        "sessions": rows[:MAX_SHOWN],
        "more": len(rows) > MAX_SHOWN,
        "user": "" if is_own else user_id,
        "ended": request.GET.get("ended", ""),
        "refreshed_every": duration(int(sessions.lifetime("ACCESS_TOKEN_LIFETIME").total_seconds())),
        "change_password": _change_password(request, identity) if is_own else "",
    }


def _change_password(request: WebRequest, identity: Identity) -> str:
    """Return the page with which users change their password, if gateway.yaml names one that is routed."""
    login = request.gateway.runtime.config.login
    path = (login.change_password if login else None) or ""
    return path if path and PageRequest(request.gateway, path, "", identity, {}).match("POST") else ""
