"""Django's admin of the users. It saves through the services, so that the rules of the API hold here too."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers what is unregistered below
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from rest_framework.request import Request

from . import selectors, services
from .api import session
from .forms import ModelForm, NewUserForm, UserForm
from .models import User
from .passports import USER_ID, PassportAuthentication
from .problems import Conflict
from .services import PreconditionFailed

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
# Users that one action changes at most: each is on disk before the next, and whoever asks is waiting.
AT_ONCE = 500
# Entries of a history that are shown.
HISTORY = 200


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

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Return whether a list may be asked for it; Django answers 400 where not."""
        return lookup in LOOKUPS

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:  # noqa: ANN401
        """Run an action; 400 where what is selected is no user's id."""
        if not all(USER_ID.fullmatch(each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("Expected the ids of users.")
        return super().response_action(request, *args, **kwargs)

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
        return type(form.__name__, (form,), {"actor": request.user.pk})

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        """Save through the services, then let the object that Django goes on with be what was saved."""
        actor = int(str(request.user.pk))
        values = {**form.cleaned_data}
        if change:
            # Who changes their own password stays signed in where they do so.
            asked = Request(request, authenticators=[PassportAuthentication()])
            values |= {"versions": [values.pop("version")], "kept_session": session(asked)}
            saved = services.user_update(user_id=obj.pk, actor=actor, **values)
        else:
            saved = services.user_create(created_by=actor, **values)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete through the services."""
        services.user_delete(user_id=obj.pk, actor=int(str(request.user.pk)))

    @admin.action(description="Activate the selected users")
    def activate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        """Let the selected users sign in."""
        self.set_active(request, queryset, is_active=True)

    @admin.action(description="Deactivate the selected users, who are signed out")
    def deactivate(self, request: HttpRequest, queryset: Any) -> None:  # noqa: ANN401  # of users
        """Let the selected users sign in no more."""
        self.set_active(request, queryset, is_active=False)

    def set_active(self, request: HttpRequest, queryset: Any, *, is_active: bool) -> None:  # noqa: ANN401
        """Change one after the other; say how many were changed, and of which that could not be, and why."""
        chosen = list(queryset.order_by("pk").values_list("pk", "username", "is_active")[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            messages.error(request, f"Expected at most {AT_ONCE} users at once. None was changed.")
            return
        done = "activated" if is_active else "deactivated"
        if not chosen:
            messages.warning(request, f"Nobody was {done}: none of those selected is in the list any more.")
            return
        changed = already = 0
        for user_id, username, was_active in chosen:
            try:
                if was_active == is_active:
                    already += 1
                else:
                    services.user_update(user_id=user_id, actor=int(str(request.user.pk)), is_active=is_active)
                    changed += 1
            except Conflict as exc:
                messages.error(request, f"Not changed: {username}. {exc.detail}")
            except Http404:
                messages.error(request, f"Not changed: {username}, who was deleted meanwhile.")
        so_before = f" {already} had been so before." if already else ""
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
        """Answer outside of a transaction, which Django's own would be in: the record does not roll back."""
        django_admin = cast("Any", self)
        return self.explained(
            request,
            lambda: django_admin._changeform_view(request, object_id, form_url, extra_context),  # noqa: SLF001
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer likewise; check first, as Django logs a deletion before it makes it."""

        def answer() -> HttpResponse:
            user = self.get_object(request, object_id)
            if user is not None:
                services.check_deletable(user, actor=int(str(request.user.pk)))
            page: HttpResponse = cast("Any", self)._delete_view(request, object_id, extra_context)  # noqa: SLF001
            return page

        return self.explained(request, answer)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the user's history, which is stored with the users; Django's own log goes with its index."""
        user = self.get_object(request, object_id)
        if user is None:
            redirect: HttpResponse = cast("Any", self)._get_obj_does_not_exist_redirect(  # noqa: SLF001
                request, self.opts, object_id
            )
            return redirect
        entries = list(selectors.user_history(user_id=user.pk)[:HISTORY])
        who = selectors.names([entry.by for entry in entries])
        context = {
            **self.admin_site.each_context(request),
            "title": f"History: {user}",
            "entries": [{"at": entry.at, "who": who[entry.by], "lines": entry.lines()} for entry in entries],
            "limit": HISTORY,
            "object": user,
            "opts": self.opts,
            "module_name": "Users",
        }
        return TemplateResponse(request, "admin/users/user/object_history.html", context)

    def explained(self, request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the answer; where a rule forbids it, go back to the list with a message that says so."""
        try:
            return answer()
        except (Conflict, PreconditionFailed) as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect(LIST)


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
