"""Django's admin of the users. It saves through the services, so that the rules of the API hold here too."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers what is unregistered below
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html_join

from . import services
from .models import User
from .problems import Conflict

if TYPE_CHECKING:  # the stubs' classes are generic, Django's are not
    ModelForm = forms.ModelForm[User]
    ModelAdmin = admin.ModelAdmin[User]
else:
    ModelForm, ModelAdmin = forms.ModelForm, admin.ModelAdmin


class PasswordField(forms.CharField):
    """A password to set; the stored one is never shown."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), **kwargs)


class UserForm(ModelForm):
    """A user, with the password to set, if any."""

    actor: int
    password = PasswordField(required=False, help_text="Leave empty to keep the password.")

    class Meta:
        model = User
        fields = ("username", "email", "full_name", "user_type", "is_active")

    def clean(self) -> dict[str, Any]:
        """Check what the services will, to say it beside the fields."""
        data = super().clean() or self.cleaned_data
        if not data.get("password"):
            data.pop("password", None)
        if not self.errors:
            self.check_password_rules(data)
            self.check_rules(data)
        return data

    def check_password_rules(self, data: dict[str, Any]) -> None:
        """Add the errors of the password to set."""
        described = User(**{name: data[name] for name in ("username", "email", "full_name")})
        try:
            if "password" in data:
                validate_password(data["password"], described)
        except ValidationError as exc:
            self.add_error("password", exc)

    def check_rules(self, data: dict[str, Any]) -> None:
        """Add an error where this would take an admin that there must be."""
        stored: User | None = User.objects.filter(pk=self.instance.pk).first()
        after = User(user_type=data["user_type"], is_active=data["is_active"])
        if stored is None or not stored.is_admin or after.is_admin:
            return
        try:
            services.check_dispensable(stored, actor=self.actor, fields=[])
        except Conflict as exc:
            self.add_error(None, str(exc.detail))


class NewUserForm(UserForm):
    """A new user, who needs a password."""

    password = PasswordField(
        help_text=format_html_join("", "{} ", ((text,) for text in password_validators_help_texts()))
    )


@admin.register(User)
class UserAdmin(ModelAdmin):
    """Users. Each is deleted on their own page, which has the room to say why that may not be."""

    list_display = ("username", "email", "full_name", "user_type", "is_active", "created_at")
    list_filter = ("user_type", "is_active")
    search_fields = ("username", "email", "full_name")
    fields = ("username", "email", "full_name", "user_type", "is_active", "password")
    readonly_fields = ()
    list_per_page = 50
    show_full_result_count = False
    actions = None

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
        if change:
            saved = services.user_update(user_id=obj.pk, actor=actor, **form.cleaned_data)
        else:
            saved = services.user_create(created_by=actor, **form.cleaned_data)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete through the services."""
        services.user_delete(user_id=obj.pk, actor=int(str(request.user.pk)))

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

    def explained(self, request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the answer; where a rule forbids it, go back to the list with a message that says so."""
        try:
            return answer()
        except Conflict as exc:
            messages.error(request, str(exc.detail))
            return HttpResponseRedirect("/admin/users/user/")


# There is one permission here, to be an admin; and no site beside the admin to view.
admin.site.unregister(Group)
admin.site.site_url = None
admin.site.site_header = admin.site.site_title = "Gatehouse"
