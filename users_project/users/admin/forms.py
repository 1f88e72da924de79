"""The admin's forms of a user."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.html import format_html_join

from chassis.problems import Conflict
from users import selectors, services
from users.models import User

if TYPE_CHECKING:  # the stubs' class is generic, Django's is not
    ModelForm = forms.ModelForm[User]
else:
    ModelForm = forms.ModelForm


class PasswordField(forms.CharField):
    """A password to set; the stored one is never shown."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), **kwargs)


class DescribedForm(ModelForm):
    """The fields of a user. `failure` is the reason for which the same form was not saved a moment ago."""

    actor: int
    failure = ""

    class Meta:
        model = User
        fields = ("username", "email", "full_name", "user_type", "is_active")

    def full_clean(self) -> None:
        """Check all fields. A page shows no password, so an invalid form asks for it again."""
        super().full_clean()
        if self.is_bound and self.errors and self.cleaned_data.get("password"):
            self.add_error("password", "Type the password again: it was not kept.")

    def clean(self) -> dict[str, Any]:
        """Check what the services will, to show it beside the fields."""
        data = super().clean() or self.cleaned_data
        if not data.get("password"):
            data.pop("password", None)
        if not self.errors:
            self._check_password_rules(data)
            self.check_rules(data)
        if self.failure and not self.errors:
            self.add_error(None, self.failure)
        return data

    def check_rules(self, data: dict[str, Any]) -> None:
        """Add the errors of what the services would refuse."""

    def _check_password_rules(self, data: dict[str, Any]) -> None:
        described = User(**{name: data[name] for name in ("username", "email", "full_name")})
        try:
            if "password" in data:
                validate_password(data["password"], described)
        except ValidationError as exc:
            self.add_error("password", exc)


class UserForm(DescribedForm):
    """A user as they were when the form was opened, and a password to set, if any."""

    password = PasswordField(required=False, help_text="Leave empty to keep the password.")
    version = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.version

    def check_rules(self, data: dict[str, Any]) -> None:
        """Add an error if the user was changed since the form was opened, or if this admin is needed."""
        stored: User | None = User.objects.filter(pk=self.instance.pk).first()
        if stored is None:
            return
        if stored.version != data["version"]:
            self._show_stale(stored)
            return
        after = User(user_type=data["user_type"], is_active=data["is_active"])
        if not stored.is_admin or after.is_admin:
            return
        try:
            services.check_dispensable(stored, actor=self.actor, fields=[])
        except Conflict as exc:
            self.add_error(None, str(exc.detail))

    def _show_stale(self, stored: User) -> None:
        """Name the user and the change. Saving the form again overwrites it."""
        sent = cast("QueryDict", self.data).copy()
        sent["version"] = stored.version
        self.data = sent
        stored_values = [
            f"{self[name].label}: {_shown(getattr(stored, name))}"
            for name in self.Meta.fields
            if str(self[name].value()) != str(getattr(stored, name))
        ]
        name = selectors.names([stored.updated_by])[stored.updated_by]
        found = f" Stored now: {', '.join(stored_values)}." if stored_values else ""
        self.add_error(
            None,
            f"Nothing was saved: {name} changed this user since you opened the form.{found} "
            "Your values are below. Save again to overwrite what is stored.",
        )


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"“{value}”"


class NewUserForm(DescribedForm):
    """A new user; the password is required."""

    password = PasswordField(
        help_text=format_html_join(
            "",
            "{} ",
            (
                (text.replace("Your password", "The password").replace("your other", "the user’s other"),)
                for text in password_validators_help_texts()
            ),
        )
    )
