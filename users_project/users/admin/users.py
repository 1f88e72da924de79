"""The admin's pages of users."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers what is unregistered below
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from chassis.etags import PreconditionFailed
from chassis.problems import Conflict
from users import selectors, services
from users.models import User

from .forms import NewUserForm, StoredForm, UserForm, if_version

# Users that one action changes at most: it is one write, for which others wait.
MAX_SELECTED = 500


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """Users. A user is deleted on their own page, which has room for the reason if that is not allowed."""

    list_display = ("username", "email", "full_name", "user_type", "is_active", "created_at")
    # It has an index: sorting by anything else would sort all users for each page.
    sortable_by = ("created_at",)
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

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Reject lookups of the hash, which would reveal it bit by bit."""
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)

    @admin.display(description="Created by")
    def creator(self, user: User) -> str:
        return selectors.names([user.created_by])[user.created_by]

    @admin.display(description="Updated by")
    def updater(self, user: User) -> str:
        return selectors.names([user.updated_by])[user.updated_by]

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:  # noqa: ANN401  # Django's
        return self.fields if obj else self.fields[:6]

    def get_form(self, request: HttpRequest, obj: Any = None, change: Any = False, **kwargs: Any) -> type[StoredForm]:  # noqa: ANN401
        form = UserForm if change else NewUserForm
        return type(form.__name__, (form,), {"request": request})

    def save_model(self, request: HttpRequest, obj: User, form: StoredForm, change: bool) -> None:
        """Do nothing: the form stores the user."""

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the user as the page showed them."""
        check = if_version(request.POST.get("version", ""))
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
        if len(chosen) > MAX_SELECTED:
            messages.error(request, f"Nothing was changed. Select at most {MAX_SELECTED} users at once.")
            return
        actor = int(str(request.user.pk))
        changed, rejected = services.users_set_active(user_ids=chosen, actor=actor, is_active=is_active)
        for user_id, why in rejected.items():
            messages.error(request, f"Not changed: {chosen[user_id]}. {why}")
        messages.success(request, f"{changed} of {len(chosen)} users {'activated' if is_active else 'deactivated'}.")

    # Django would open a transaction around these two views; the record does not roll back.

    def changeform_view(self, *args: Any, **options: Any) -> HttpResponse:  # noqa: ANN401  # Django's
        page: HttpResponse = cast("Any", self)._changeform_view(*args, **options)  # noqa: SLF001
        return page

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:  # noqa: ANN401
        """What prevents the deletion is a message."""
        try:
            page: HttpResponse = cast("Any", self)._delete_view(request, object_id, extra_context)  # noqa: SLF001
        except (Conflict, PreconditionFailed) as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect(request.path)
        return page

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:  # noqa: ANN401
        """Show the history that the store has, instead of Django's own log."""
        user = self.get_object(request, object_id)
        changes = selectors.user_history(user_id=user.pk) if user else []
        names = selectors.names([change.by for change in changes])
        entries = [{"at": change.at, "by": names[change.by], "lines": change.lines()} for change in changes]
        return super().history_view(request, object_id, {"entries": entries})


# The one permission here is to be an admin, and there is no other site to view.
admin.site.unregister(Group)
admin.site.disable_action("delete_selected")
admin.site.enable_nav_sidebar = False
admin.site.site_url = None
admin.site.site_header = admin.site.site_title = "Gatehouse"
