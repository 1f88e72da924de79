"""The admin's page of a user's history."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from chassis.passports import USER_ID
from users import selectors
from users.models import User

from .access import PREFIX

if TYPE_CHECKING:  # the stubs' class is generic, Django's is not
    ModelAdmin = admin.ModelAdmin[User]
else:
    ModelAdmin = admin.ModelAdmin

LIST = f"{PREFIX}users/user/"


class HistoryAdmin(ModelAdmin):
    """Shows the history that the store has, also of a deleted user, in place of Django's own log."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        if user is None and not _is_deleted(object_id):
            return self._does_not_exist(request, object_id)
        entries = selectors.user_history(user_id=user.pk if user else int(object_id))
        names = selectors.names([entry.by for entry in entries])
        context = {
            **self.admin_site.each_context(request),
            "title": f"History: {user or f'user {object_id}, deleted'}",
            "entries": [{"at": entry.at, "by": names[entry.by], "lines": entry.lines()} for entry in entries],
            "object": user,
            "user_id": object_id,
            "opts": self.opts,
            "module_name": "Users",
        }
        return TemplateResponse(request, "admin/users/user/object_history.html", context)

    def _does_not_exist(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page: HttpResponse = super()._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[misc]
        return page

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:  # noqa: ANN401
        """Redirect to the history of a deleted user: Django's hook for an object that is not found."""
        if not _is_deleted(object_id):
            return self._does_not_exist(request, object_id)
        messages.warning(request, f"User {object_id} was deleted. Their history is kept.")
        return HttpResponseRedirect(f"{LIST}{object_id}/history/")


def _is_deleted(object_id: str) -> bool:
    return bool(USER_ID.fullmatch(object_id)) and selectors.is_deleted(int(object_id))
