"""The admin's pages of users."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers what is unregistered below
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect

from chassis.databases import StorageFull
from chassis.etags import PreconditionFailed
from chassis.passports import USER_ID
from chassis.problems import Conflict, Unavailable
from users import selectors, services
from users.models import User

from .access import session_of
from .forms import ModelForm, NewUserForm, UserForm
from .history import LIST, HistoryAdmin
from .lists import LOOKUPS, UserList

# Users that one action changes at most: it is one write, for which others wait.
MAX_SELECTED = 500
# The reasons for which a change is not saved; the page shows them.
_REJECTIONS = (Conflict, PreconditionFailed, Unavailable, StorageFull)


@admin.register(User)
class UserAdmin(HistoryAdmin):
    """Users. A user is deleted on their own page, which has room for the reason if that is not allowed."""

    list_display = ("name", "address", "full_name", "user_type", "is_active", "created_at")
    # Only what has an index: sorting by anything else would sort all users for each page.
    sortable_by = ("name", "address", "created_at")
    list_filter = ("user_type", "is_active", "created_at")
    search_fields = ("username", "email", "full_name")
    search_help_text = "In usernames, emails and full names."
    fields = (
        *("username", "email", "full_name", "user_type", "is_active", "password"),
        *("created_at", "creator", "updated_at", "updater", "version"),
    )
    readonly_fields = ("created_at", "creator", "updated_at", "updater")
    list_per_page = 50
    # Counting the users left out, or in each filter, would read all of them.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("activate", "deactivate")
    actions_selection_counter = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ANN401  # Django's
        return UserList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Return whether a URL of the list may use it; Django answers 400 if not. PostgreSQL has no NUL character."""
        return lookup in LOOKUPS and "\0" not in value

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:  # noqa: ANN401
        """Run an action. What prevents it is a message; a selection that is not of ids is 400."""
        if not all(USER_ID.fullmatch(each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("The selected values are not ids of users.")
        try:
            return super().response_action(request, *args, **kwargs)
        except _REJECTIONS as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect(request.get_full_path())

    @admin.display(description="Username", ordering=Lower("username"))
    def name(self, user: User) -> str:
        return user.username

    @admin.display(description="Email", ordering=Lower("email"))
    def address(self, user: User) -> str:
        return user.email

    @admin.display(description="Created by")
    def creator(self, user: User) -> str:
        return selectors.names([user.created_by])[user.created_by]

    @admin.display(description="Updated by")
    def updater(self, user: User) -> str:
        return selectors.names([user.updated_by])[user.updated_by]

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:  # noqa: ANN401  # Django's
        return self.fields if obj else self.fields[:6]

    def get_form(
        self,
        request: HttpRequest,
        obj: User | None = None,
        change: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> type[ModelForm]:
        form = UserForm if change else NewUserForm
        return type(form.__name__, (form,), {"actor": request.user.pk, "failure": getattr(request, "failure", "")})

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        actor = int(str(request.user.pk))
        values = {**form.cleaned_data}
        if change:
            # Admins who change their own password stay signed in here.
            values |= {"if_version": _if_version(values.pop("version")), "kept_session": session_of(request)}
            saved = services.user_update(user_id=obj.pk, actor=actor, **values)
        else:
            saved = services.user_create(created_by=actor, **values)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the user as the page showed them, through the services."""
        check = _if_version(request.POST.get("version", ""))
        services.user_delete(user_id=obj.pk, actor=int(str(request.user.pk)), if_version=check)

    def _log_nothing(self, request: HttpRequest, *args: Any) -> None:  # noqa: ANN401  # Django's
        """Leave Django's own log empty: a user's history is the log."""

    log_addition = log_change = log_deletions = _log_nothing  # type: ignore[assignment]

    @admin.action(description="Activate the selected users")
    def activate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        self._set_active(request, queryset, is_active=True)

    @admin.action(description="Deactivate the selected users, and sign them out")
    def deactivate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        self._set_active(request, queryset, is_active=False)

    def _set_active(self, request: HttpRequest, queryset: Any, *, is_active: bool) -> None:  # noqa: ANN401
        """Change all that the rules allow, and report each that was not changed."""
        chosen = dict(queryset.order_by("pk").values_list("pk", "username")[: MAX_SELECTED + 1])
        done = "activated" if is_active else "deactivated"
        if len(chosen) > MAX_SELECTED:
            messages.error(request, f"Nothing was changed. Select at most {MAX_SELECTED} users at once.")
            return
        if not chosen:
            messages.warning(request, f"No user was {done}: the selected users are not in the list any more.")
            return
        changed, rejected = services.users_set_active(
            user_ids=chosen, actor=int(str(request.user.pk)), is_active=is_active
        )
        for user_id, why in rejected.items():
            messages.error(request, f"Not changed: {chosen[user_id]}. {why}")
        already = len(chosen) - changed - len(rejected)
        before = f" {already} had been {done} before." if already else ""
        if changed or already:
            messages.success(request, f"{changed} of {len(chosen)} users {done}.{before}")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Answer outside of a transaction, which Django would open: the record does not roll back.

        If the change cannot be saved, the form is shown again with the values that were sent and the reason.
        """

        def view() -> HttpResponse:
            page: HttpResponse = cast("Any", self)._changeform_view(request, object_id, form_url, extra_context)  # noqa: SLF001
            return page

        try:
            return view()
        except (Http404, *_REJECTIONS) as exc:
            rejection = exc
        cast("Any", request).failure = str(getattr(rejection, "detail", "")) or "This user was deleted."
        response = view()
        if isinstance(rejection, (Unavailable, StorageFull)) and response.status_code == HTTPStatus.OK:
            response.status_code = rejection.status_code
        return response

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer outside of a transaction too. What prevents the deletion is a message."""
        try:
            user = self.get_object(request, object_id)
            if user is not None:
                services.check_deletable(user, actor=int(str(request.user.pk)))
            page: HttpResponse = cast("Any", self)._delete_view(request, object_id, extra_context)  # noqa: SLF001
        except _REJECTIONS as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect(LIST if isinstance(exc, Conflict) else request.path)
        return page


def _if_version(version: str) -> Callable[[User], None]:
    """Return a check that raises `PreconditionFailed` if the user has another version than the page showed."""

    def check(user: User) -> None:
        if user.version != version:
            raise PreconditionFailed("This user was changed since you opened the page. Nothing was done.")

    return check


def _own_page(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Redirect to the admin's own page, where a password is changed as any user's is."""
    return HttpResponseRedirect(f"{LIST}{request.user.pk}/change/")


admin.site.password_change = _own_page  # type: ignore[assignment]  # a page there, a redirection here
# The one permission here is to be an admin, and there is no other site to view.
admin.site.unregister(Group)
admin.site.disable_action("delete_selected")
admin.site.enable_nav_sidebar = False
admin.site.site_url = None
admin.site.site_header = admin.site.site_title = "Gatehouse"
