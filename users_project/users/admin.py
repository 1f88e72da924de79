"""Django's admin of the users. It saves through the services, so that the rules of the API hold here too."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers what is unregistered below
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest
from django.db import OperationalError
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from chassis.databases import StorageFull
from chassis.etags import PreconditionFailed
from chassis.passports import USER_ID
from chassis.problems import Conflict, Unavailable

from . import index, selectors, services
from .browsers import session_of
from .forms import ModelForm, NewUserForm, UserForm
from .models import Deletion, User

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # the stubs' classes are generic, Django's are not
    ModelAdmin = admin.ModelAdmin[User]
else:
    ModelAdmin = admin.ModelAdmin

LIST = "/admin/users/user/"
# What a list's address may ask for: what its filters do. Others would read what no page shows, such as the hashes.
LOOKUPS = frozenset(
    f"{field}__{lookup}"
    for field, lookups in {
        "user_type": ("exact", "isnull"),
        "is_active": ("exact", "isnull"),
        "created_at": ("gte", "lt", "isnull"),
    }.items()
    for lookup in lookups
)
# Users that one action changes at most: it is one write, for which others and whoever asks are waiting.
AT_ONCE = 500
# Why something is not saved, which is for whoever asked to know.
REFUSALS = (Conflict, PreconditionFailed, Unavailable, StorageFull)


class UserList(ChangeList):
    """The list. Beside the search it says how many were found, and not that all are there to be shown."""

    def get_results(self, request: HttpRequest) -> None:
        """Find the page, and whether it is of all."""
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


@admin.register(User)
class UserAdmin(ModelAdmin):
    """Users. Each is deleted on their own page, which has the room to say why that may not be."""

    list_display = ("name", "address", "full_name", "user_type", "is_active", "created_at")
    # Those along which there is an index: sorting by anything else would sort all of the users for each page.
    sortable_by = ("name", "address", "created_at")
    list_filter = ("user_type", "is_active", "created_at")
    search_fields = ("username", "email", "full_name")
    search_help_text = "In usernames, emails and full names."
    fields = (
        *("username", "email", "full_name", "user_type", "is_active", "password"),
        *("created_at", "creator", "updated_at", "version"),
    )
    readonly_fields = ("created_at", "creator", "updated_at")
    list_per_page = 50
    # Counting what is left out, or in each filter, would read all of the users.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("activate", "deactivate")
    actions_selection_counter = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401  # Django's
        """Return what the list is."""
        return UserList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Return whether a list may be asked for it; Django answers 400 where not."""
        return lookup in LOOKUPS

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:  # noqa: ANN401
        """Run an action; 400 where what is selected is no user's id. What keeps it from being saved is a message."""
        if not all(USER_ID.fullmatch(each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("Expected the ids of users.")
        try:
            return super().response_action(request, *args, **kwargs)
        except REFUSALS as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect(request.get_full_path())

    @admin.display(description="Username", ordering=Lower("username"))
    def name(self, user: User) -> str:
        """Return the username, which is sorted along its index."""
        return user.username

    @admin.display(description="Email", ordering=Lower("email"))
    def address(self, user: User) -> str:
        """Return the email address, which is sorted along its index."""
        return user.email

    @admin.display(description="Created by")
    def creator(self, user: User) -> str:
        """Return who made the user."""
        return selectors.names([user.created_by])[user.created_by]

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:  # noqa: ANN401  # Django's
        """Return the fields, of a new user those that there are."""
        return self.fields if obj else self.fields[:6]

    def get_form(
        self,
        request: HttpRequest,
        obj: User | None = None,
        change: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> type[ModelForm]:
        """Return the form, which knows who asks."""
        form = UserForm if change else NewUserForm
        return type(form.__name__, (form,), {"actor": request.user.pk, "unstored": getattr(request, "unstored", "")})

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        """Save through the services, then let the object that Django goes on with be what was saved."""
        actor = int(str(request.user.pk))
        values = {**form.cleaned_data}
        if change:
            # Who changes their own password stays signed in where they do so.
            values |= {"check": as_shown(values.pop("version")), "kept_session": session_of(request)}
            saved = services.user_update(user_id=obj.pk, actor=actor, **values)
        else:
            saved = services.user_create(created_by=actor, **values)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the user as the page showed them, through the services."""
        check = as_shown(request.POST.get("version", ""))
        services.user_delete(user_id=obj.pk, actor=int(str(request.user.pk)), check=check)
        with in_passing():
            super().log_deletions(request, cast("Any", [obj]))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Do nothing yet: Django would log a deletion before it is made."""

    def log_addition(self, request: HttpRequest, obj: User, message: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Log that a user was made."""
        with in_passing():
            super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Log that a user was changed."""
        with in_passing():
            super().log_change(request, obj, message)

    @admin.action(description="Activate the selected users")
    def activate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        """Let the selected users sign in."""
        self.set_active(request, queryset, is_active=True)

    @admin.action(description="Deactivate the selected users, who are signed out")
    def deactivate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        """Let the selected users sign in no more."""
        self.set_active(request, queryset, is_active=False)

    def set_active(self, request: HttpRequest, queryset: Any, *, is_active: bool) -> None:  # noqa: ANN401
        """Change all that may be; say how many were changed, and of which that could not be, and why."""
        chosen = dict(queryset.order_by("pk").values_list("pk", "username")[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            messages.error(request, f"Expected at most {AT_ONCE} users at once. None was changed.")
            return
        done = "activated" if is_active else "deactivated"
        if not chosen:
            messages.warning(request, f"Nobody was {done}: none of those selected is in the list any more.")
            return
        changed, refused = services.users_set_active(
            user_ids=chosen, actor=int(str(request.user.pk)), is_active=is_active
        )
        for user_id, why in refused.items():
            messages.error(request, f"Not changed: {chosen[user_id]}. {why}")
        already = len(chosen) - changed - len(refused)
        so_before = f" {already} had been so before." if already else ""
        if changed or already:
            messages.success(request, f"{changed} of {len(chosen)} users {done}.{so_before}")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list; from the beginning where it is narrowed to what no text of PostgreSQL's can hold."""
        if any("\0" in value for value in request.GET.values()):
            return HttpResponseRedirect(f"{LIST}?e=1")
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Answer outside of a transaction, which Django's own would be in: the record does not roll back.

        What cannot be saved is shown again, as it was sent, with what keeps it from being saved.
        """

        def answer() -> HttpResponse:
            page: HttpResponse = cast("Any", self)._changeform_view(request, object_id, form_url, extra_context)  # noqa: SLF001
            return page

        try:
            return answer()
        except (Http404, *REFUSALS) as exc:
            refusal = exc
        cast("Any", request).unstored = str(getattr(refusal, "detail", "")) or "This user was deleted meanwhile."
        response = answer()
        if isinstance(refusal, (Unavailable, StorageFull)) and response.status_code == HTTPStatus.OK:
            response.status_code = refusal.status_code
        return response

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer likewise; what may not or cannot be deleted is a message."""
        try:
            user = self.get_object(request, object_id)
            if user is not None:
                services.check_deletable(user, actor=int(str(request.user.pk)))
            page: HttpResponse = cast("Any", self)._delete_view(request, object_id, extra_context)  # noqa: SLF001
        except REFUSALS as exc:
            messages.error(request, str(exc.detail))
            # What the page asks is asked of the user as they are now, if anything is left to ask.
            return HttpResponseRedirect(LIST if isinstance(exc, Conflict) else request.path)
        return page

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the user's history, which is stored with the users, also of one who was deleted."""
        user = self.get_object(request, object_id)
        if user is None and not was_deleted(object_id):
            return self.not_there(request, object_id)
        entries = list(selectors.user_history(user_id=user.pk if user else int(object_id)))
        who = selectors.names([entry.by for entry in entries])
        context = {
            **self.admin_site.each_context(request),
            "title": f"History: {user or f'user {object_id}, deleted'}",
            "entries": [{"at": entry.at, "who": who[entry.by], "lines": entry.lines()} for entry in entries],
            "limit": index.HISTORY,
            "object": user,
            "user_id": object_id,
            "opts": self.opts,
            "module_name": "Users",
        }
        return TemplateResponse(request, "admin/users/user/object_history.html", context)

    def not_there(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say that there is no such user."""
        page: HttpResponse = super()._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[misc]
        return page

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:  # noqa: ANN401
        """Lead to the history of a user who was deleted: Django's hook of what it asks for and does not find."""
        if not was_deleted(object_id):
            return self.not_there(request, object_id)
        messages.warning(request, f"User {object_id} was deleted. This is left of them.")
        return HttpResponseRedirect(f"{LIST}{object_id}/history/")


def was_deleted(object_id: str) -> bool:
    """Return whether that is the id of a user who was deleted."""
    return bool(USER_ID.fullmatch(object_id)) and Deletion.objects.filter(pk=int(object_id)).exists()


def as_shown(version: str) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user who is not of the version that a page showed."""

    def check(user: User) -> None:
        if user.version != version:
            raise PreconditionFailed

    return check


@contextmanager
def in_passing() -> Iterator[None]:
    """Do without Django's log where a full disk keeps it out: what it tells is done, and in the history."""
    try:
        yield
    except OperationalError as exc:
        log.warning("The log of the admin cannot be written: %s", exc)


def own_page(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Lead to one's own page, where a password is changed as anyone's is: Django's would not say who changed it."""
    return HttpResponseRedirect(f"{LIST}{request.user.pk}/change/")


admin.site.password_change = own_page  # type: ignore[assignment]  # a page there, a redirection here
# There is one permission here, to be an admin; and no site beside the admin to view. Many at once are not deleted.
admin.site.unregister(Group)
admin.site.disable_action("delete_selected")
admin.site.enable_nav_sidebar = False
admin.site.site_url = None
admin.site.site_header = admin.site.site_title = "Gatehouse"
