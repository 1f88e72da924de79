"""The admin's forms of a user."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.html import format_html_join

from chassis.problems import Conflict

from . import selectors, services
from .models import User, UserChange

if TYPE_CHECKING:  # the stubs' class is generic, Django's is not
    ModelForm = forms.ModelForm[User]
else:
    ModelForm = forms.ModelForm


class PasswordField(forms.CharField):
    """A password to set; the stored one is never shown."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), **kwargs)


class DescribedForm(ModelForm):
    """What there is to say of a user. `unstored` says what has kept the same form from being saved a moment ago."""

    actor: int
    unstored = ""

    class Meta:
        model = User
        fields = ("username", "email", "full_name", "user_type", "is_active")

    def full_clean(self) -> None:
        """Check it all; where it has to be sent again, say so of the password, which no page shows."""
        super().full_clean()
        if self.is_bound and self.errors and self.cleaned_data.get("password"):
            self.add_error("password", "Type it once more: it is not kept meanwhile.")

    def clean(self) -> dict[str, Any]:
        """Check what the services will, to say it beside the fields."""
        data = super().clean() or self.cleaned_data
        if not data.get("password"):
            data.pop("password", None)
        if not self.errors:
            self.check_password_rules(data)
            self.check_rules(data)
        if self.unstored and not self.errors:
            self.add_error(None, self.unstored)
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
    """A user as they were when the form was asked for, with the password to set, if any.

    Beside each field the form says hidden what it was then, so that what somebody else has changed can be told from
    what is changed here.
    """

    password = PasswordField(required=False, help_text="Leave empty to keep the password.")
    version = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.version
        for name in self.Meta.fields:
            self.fields[name].show_hidden_initial = True

    def check_rules(self, data: dict[str, Any]) -> None:
        """Add an error where this would write over what was not seen, or take an admin that there must be."""
        stored: User | None = User.objects.filter(pk=self.instance.pk).first()
        if stored is None:
            return
        if stored.version != data["version"]:
            self.show_unseen(stored, data)
            return
        after = User(user_type=data["user_type"], is_active=data["is_active"])
        if not stored.is_admin or after.is_admin:
            return
        try:
            services.check_dispensable(stored, actor=self.actor, fields=[])
        except Conflict as exc:
            self.add_error(None, str(exc.detail))

    def show_unseen(self, stored: User, data: dict[str, Any]) -> None:
        """Add an error that says of each field what is other than it was shown; show it, under what was changed here.

        Who saves once more has seen it, and changes no more than what they had changed.
        """
        unseen, own = [], set(self.changed_data)
        sent = cast("QueryDict", self.data).copy()
        history = list(selectors.user_history(user_id=stored.pk))
        for name in self.Meta.fields:
            shown, current = self.shown(name, data[name]), getattr(stored, name)
            if shown != current:
                who = changed_by(history, name, current)
                unseen.append(f"{self[name].label}: {quoted(shown)} → {quoted(current)}{who}.")
            sent[self[name].html_initial_name] = str(current)
            if name not in own:
                # Of a checkbox, `False` is read as not ticked.
                sent[name] = str(current)
        sent["version"] = stored.version
        # What the form shows again is what was sent, but for this.
        self.data = sent
        found = " ".join(unseen) or "Their password, or something that was changed back."
        self.add_error(
            None,
            f"Nothing was saved: this user was changed meanwhile. {found} The form says so now, and what you have "
            "changed: save once more to change that alone.",
        )

    def shown(self, name: str, sent: object) -> object:
        """Return what the field was when the form was asked for; what was sent, where the form does not say."""
        field, said = self.fields[name], self.data.get(self[name].html_initial_name)
        return sent if said is None else field.to_python(said)


def changed_by(history: Iterable[UserChange], name: str, current: object) -> str:
    """Return who made the field what it is; `""` where no history tells, as of a record edited by hand."""
    last = next((change for change in history if name in change.values), None)
    if last is None or last.values[name][1:] != [current]:
        return ""
    return f", by {selectors.names([last.by])[last.by]}"


def quoted(value: object) -> str:
    """Return the value as a sentence names it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"“{value}”" if value else "nothing"


def neutral(text: str) -> str:
    """Return what Django tells somebody of their own password, as it is told of another's."""
    return text.replace("Your password", "The password").replace("your other", "the user’s other")


class NewUserForm(DescribedForm):
    """A new user, who needs a password."""

    password = PasswordField(
        help_text=format_html_join("", "{} ", ((neutral(text),) for text in password_validators_help_texts()))
    )
