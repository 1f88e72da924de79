"""The admin's forms of a user."""

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib.auth.forms import SetPasswordMixin
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.http import Http404, HttpRequest, QueryDict

from chassis.etags import PreconditionFailed
from chassis.problems import Conflict
from users import selectors, services
from users.models import User
from users.passwords import MAX_LENGTH


def if_version(version: str) -> Callable[[User], None]:
    """Return a check that raises `PreconditionFailed` if the user has another version than the page showed."""

    def check(user: User) -> None:
        if user.version != version:
            raise PreconditionFailed("This user was changed since you opened the page. Nothing was done.")

    return check


class PasswordField(forms.CharField):
    """A password to set; the stored one is never shown."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
        super().__init__(strip=False, max_length=MAX_LENGTH, widget=widget, **kwargs)


class StoredForm(SetPasswordMixin, forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """The fields of a user. A form is valid once its user is stored: what the services reject is an error in it."""

    request: HttpRequest

    class Meta:
        model = User
        fields = ("username", "email", "full_name", "user_type", "is_active")

    def full_clean(self) -> None:
        super().full_clean()
        if not self.is_bound:
            return
        self.validate_password_for_user(self.instance, "password")
        if not self.errors:
            values = {name: value for name, value in self.cleaned_data.items() if name != "password" or value}
            try:
                self.instance = self.store(values, actor=int(str(self.request.user.pk)))
            except Conflict as exc:
                self.add_error(None, str(exc.detail))
            except Http404:
                self.add_error(None, "This user was deleted.")
        if self.errors and self.cleaned_data.get("password"):
            self.add_error("password", "Type the password again: it was not kept.")

    def store(self, values: dict[str, Any], actor: int) -> User:
        raise NotImplementedError


class UserForm(StoredForm):
    """A user as they were when the form was opened, and a password to set, if any."""

    password = PasswordField(required=False, help_text="Leave empty to keep the password.")
    version = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Django's
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.version

    def store(self, values: dict[str, Any], actor: int) -> User:
        check = if_version(values.pop("version"))
        # Admins who change their own password stay signed in here.
        session = getattr(self.request, "session_id", "")
        try:
            return services.user_update(
                user_id=self.instance.pk, actor=actor, kept_session=session, if_version=check, **values
            )
        except PreconditionFailed as exc:
            stored = selectors.user_get(user_id=self.instance.pk)
            self.data = {**cast("QueryDict", self.data).dict(), "version": stored.version}
            name = selectors.names([stored.updated_by])[stored.updated_by]
            raise Conflict(
                f"Nothing was saved: {name} changed this user since you opened the form. Your values are below. "
                "Save again to overwrite what is stored."
            ) from exc


class NewUserForm(StoredForm):
    """A new user; the password is required."""

    password = PasswordField(help_text=password_validators_help_text_html)

    def store(self, values: dict[str, Any], actor: int) -> User:
        return services.user_create(created_by=actor, **values)
