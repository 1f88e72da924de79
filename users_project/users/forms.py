"""The admin's forms of a user."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.html import format_html_join

from . import selectors, services
from .models import User
from .problems import Conflict

if TYPE_CHECKING:  # the stubs' class is generic, Django's is not
    ModelForm = forms.ModelForm[User]
else:
    ModelForm = forms.ModelForm


class PasswordField(forms.CharField):
    """A password to set; the stored one is never shown."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), **kwargs)


class DescribedForm(ModelForm):
    """What there is to say of a user."""

    actor: int

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
        """Add the errors of what may not be, of the user as they are."""


class UserForm(DescribedForm):
    """A user as they were when the form was asked for, with the password to set, if any."""

    password = PasswordField(required=False, help_text="Leave empty to keep the password.")
    version = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.version

    def check_rules(self, data: dict[str, Any]) -> None:
        """Add an error where this would write over what was not seen, or take an admin that there must be."""
        stored: User | None = User.objects.filter(pk=self.instance.pk).first()
        if stored is None:
            return
        if stored.version != data["version"]:
            self.refuse_unseen(stored)
            return
        after = User(user_type=data["user_type"], is_active=data["is_active"])
        if not stored.is_admin or after.is_admin:
            return
        try:
            services.check_dispensable(stored, actor=self.actor, fields=[])
        except Conflict as exc:
            self.add_error(None, str(exc.detail))

    def refuse_unseen(self, stored: User) -> None:
        """Add an error that says what was changed last, and by whom; who saves once more has seen it."""
        last = selectors.user_history(user_id=stored.pk)[0]
        who = selectors.names([last.by])[last.by]
        self.add_error(
            None,
            f"Nothing was saved: this user was changed meanwhile. {last.at:%Y-%m-%d %H:%M:%S} UTC, by {who}: "
            f"{'; '.join(last.lines())}. Save once more to have the user as this form says.",
        )
        # What the form shows again is what was sent, but for this.
        sent = cast("QueryDict", self.data).copy()
        sent["version"] = stored.version
        self.data = sent


class NewUserForm(DescribedForm):
    """A new user, who needs a password."""

    password = PasswordField(
        help_text=format_html_join("", "{} ", ((text,) for text in password_validators_help_texts()))
    )
