"""What is stored. The record holds it (see `journal`); the tables of these models are its index.

`save` and `delete` of one user go through the journal, whoever calls them: the admin, `createsuperuser`, a shell.
What would write tables only raises `BypassError`.
"""

import json
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import Any, NoReturn, Self, cast

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.password_validation import password_changed
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

username_characters = RegexValidator(
    r"\A[A-Za-z0-9@.+_-]+\Z", "Expected only ASCII letters, digits and @ . + - _", code="username_characters"
)
ascii_only = RegexValidator(r"\A[\x21-\x7e]+\Z", "Expected only ASCII characters, without spaces.", code="ascii_only")


def printable_text(value: str) -> None:
    """Refuse what the API refuses, for those who come by other ways."""
    from rest_framework.exceptions import ValidationError as Refused

    from chassis.validators import printable  # DRF's serializers need the user model

    try:
        printable(value)
    except Refused as exc:
        raise ValidationError(str(exc.detail[0] if isinstance(exc.detail, list) else exc.detail)) from exc


class BypassError(TypeError):
    """A write of tables only, which the next reading of the record would undo."""


class RecordedQuerySet(models.QuerySet["User"]):
    """Users. Writes of many at once are refused: save or delete each user."""

    def refuse(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise `BypassError`."""
        raise BypassError("This would write tables only, not the record: save or delete each user instead.")

    update = bulk_create = bulk_update = delete = refuse
    aupdate = abulk_create = abulk_update = adelete = refuse

    def named(self, username: str) -> Self:
        """Return the user of that name, in any case, along the unique index."""
        return self.lowered("username", username)

    def with_email(self, email: str) -> Self:
        """Return the user of that email address, in any case, along the unique index."""
        return self.lowered("email", email)

    def lowered(self, field: str, value: str) -> Self:
        """Return those whose field is the value in lower case. All are ASCII; Python lowers `K` (kelvin) to `k`."""
        if not value.isascii():
            return self.none()
        return self.alias(lowered=Lower(field)).filter(lowered=value.lower())

    def active_admins(self) -> Self:
        """Return the admins who may sign in."""
        return self.filter(user_type=User.Type.ADMIN, is_active=True)


class UserManager(BaseUserManager["User"].from_queryset(RecordedQuerySet)):  # type: ignore[misc]  # made at run time
    """Finds users by name in any case, and makes the first admin for `createsuperuser`."""

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user of that name; raise `User.DoesNotExist`."""
        return cast("User", self.named(username or "").get())

    def create_superuser(self, username: str, email: str, password: str | None = None) -> "User":
        """Make an admin and return it."""
        user = User(username=username, email=email, user_type=User.Type.ADMIN)
        user.set_password(password)
        user.save()
        return user


VERSIONED = (
    *("id", "username", "email", "full_name", "user_type", "is_active"),
    *("created_by", "created_at", "updated_at", "session_epoch"),
)


class User(AbstractBaseUser):
    """Someone who may sign in. `created_by` is the id of the admin who made this user, if one did.

    A session that began in an earlier `session_epoch` has ended, but for `kept_session`, in which the user changed
    their own password. `sessions_ended_seq` numbers the ends of all users' sessions in the order of the record; 0 is
    never.
    """

    class Type(models.TextChoices):
        """What a user may do."""

        ADMIN = "admin"
        DEFAULT = "default"

    id = models.BigAutoField(primary_key=True)
    username = models.CharField(
        max_length=150,
        validators=[username_characters],
        help_text="At most 150 ASCII letters, digits and @ . + - _",
    )
    email = models.EmailField(max_length=254, validators=[ascii_only])
    full_name = models.CharField(max_length=150, blank=True, default="", validators=[printable_text])
    user_type = models.CharField(max_length=16, choices=Type, default=Type.DEFAULT)
    is_active = models.BooleanField(default=True)
    created_by = models.PositiveBigIntegerField(null=True, blank=True, default=None, editable=False)
    created_at = models.DateTimeField(editable=False, db_index=True)
    updated_at = models.DateTimeField(editable=False)
    session_epoch = models.PositiveBigIntegerField(default=0, editable=False)
    kept_session = models.CharField(max_length=255, blank=True, default="", editable=False)
    sessions_ended_seq = models.PositiveBigIntegerField(default=0, editable=False, db_index=True)
    _password: str | None  # Django's: what `set_password` got, until it is saved
    last_login = None  # it would be a line in the record for each login

    objects = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                Lower("username"), name="users_username", violation_error_message="A user of this name exists already."
            ),
            models.UniqueConstraint(
                Lower("email"), name="users_email", violation_error_message="A user with this email exists already."
            ),
        )

    def __str__(self) -> str:
        return self.username

    @property
    def version(self) -> str:
        """What is another after each change, of the password too, but for a new hash of the same one."""
        values = [getattr(self, name) for name in VERSIONED]
        return blake2b(json.dumps(values, default=str).encode(), digest_size=12).hexdigest()

    @property
    def is_admin(self) -> bool:
        """Whether this is an admin who may sign in."""
        return self.is_active and self.user_type == self.Type.ADMIN

    # What Django's admin asks: there is one permission here, to be an admin.
    is_staff = is_admin

    def has_perm(self, perm: str, obj: models.Model | None = None) -> bool:
        """Return whether this user may do that in Django's admin."""
        return self.is_admin

    def has_module_perms(self, app_label: str) -> bool:
        """Return whether this user may see that application in Django's admin."""
        return self.is_admin

    def save(
        self,
        *,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write this user to the record; with `update_fields`, those fields only."""
        from . import journal  # it imports the models

        names = None if update_fields is None else set(update_fields)
        # Django's own `check_password` saves so when it has hashed the same password with newer parameters.
        rehash = names == {"password"} and self._password is None
        with journal.writing() as changes:
            if force_insert and self.pk and User.objects.filter(pk=self.pk).exists():
                raise ValueError(f"A user with the id {self.pk} exists already.")
            changes.put(self if names is None else self.stored_with(names), rehash=rehash)
        if self._password is not None:
            password_changed(self._password, self)
            self._password = None

    def stored_with(self, names: Collection[str]) -> "User":
        """Return the stored user with this one's values of those fields."""
        stored: User = User.objects.get(pk=self.pk)
        for name in names:
            setattr(stored, name, getattr(self, name))
        return stored

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete this user from the record."""
        from . import journal  # it imports the models

        with journal.writing() as changes:
            changes.remove(self)
        return 1, {"users.User": 1}


class Deletion(models.Model):
    """That a user was deleted. It stays, so that the id is never used again and the sessions stay ended."""

    user_id = models.BigIntegerField(primary_key=True)
    deleted_at = models.DateTimeField()
    deleted_by = models.PositiveBigIntegerField(null=True, blank=True, default=None)
    session_epoch = models.PositiveBigIntegerField(default=0)
    sessions_ended_seq = models.PositiveBigIntegerField(default=0, db_index=True)

    def __str__(self) -> str:
        return f"deletion of user {self.user_id}"


# Of what a history tells: how, and as what, somebody can sign in.
ACCESS = frozenset({"username", "user_type", "is_active", "password"})
# What a history tells the values of; of the password it tells that it was changed.
TOLD = ("username", "email", "full_name", "user_type", "is_active")


class UserChange(models.Model):
    """An entry of a user's history: what was changed, from what to what, when and by whom.

    `values` is `{field: [old, new]}`, of the password `[]`. What says that a user was made is written when the user is
    changed for the first time; until then the user says it.
    """

    class Action(models.TextChoices):
        """What was done."""

        CREATED = "created"
        CHANGED = "changed"
        DELETED = "deleted"

    id = models.BigAutoField(primary_key=True)
    user_id = models.PositiveBigIntegerField()
    action = models.CharField(max_length=16, choices=Action)
    at = models.DateTimeField()
    by = models.PositiveBigIntegerField(null=True, blank=True, default=None)
    values = models.JSONField(blank=True, default=dict)

    class Meta:
        indexes = (models.Index(fields=["user_id", "-id"], name="users_history"),)

    def __str__(self) -> str:
        return f"user {self.user_id} {self.action}"

    @property
    def kind(self) -> tuple[int, str]:
        """With which other changes this one is counted, as a history is bounded.

        What one does to one's own profile, as often as one likes, pushes nothing else out of one's history.
        """
        if self.by != self.user_id:
            return self.user_id, "others"
        return self.user_id, "own access" if self.values.keys() & ACCESS else "own profile"

    def lines(self) -> list[str]:
        """Return what was done in words, a line for each field."""
        told = [
            f"{field}: {values[0]} → {values[1]}" if values else f"{field} changed"
            for field, values in sorted(self.values.items())
        ]
        return told or [self.action]


class Position(models.Model):
    """How much of the record the other tables reflect: one row, changed in one transaction with them.

    `identity` is the record's (see `record.identity`); `live` counts the lines that are not superseded; `generation` is
    another each time that all was read again, which is when what was told of ended sessions may not be all.
    """

    identity = models.CharField(max_length=200)
    offset = models.PositiveBigIntegerField(default=0)
    lines = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True, default="")
    live = models.PositiveBigIntegerField(default=0)
    generation = models.CharField(max_length=32)

    def __str__(self) -> str:
        return f"{self.lines} lines, {self.offset} bytes"


def refuse_bypass(sender: type[models.Model], raw: bool, **kwargs: Any) -> None:  # noqa: ANN401  # a signal's
    """Refuse what saves tables by itself, as `loaddata` does. The journal's own writes send no signal."""
    if issubclass(sender, (User, Deletion, UserChange)):
        raise BypassError("This would write tables only, not the record: save each user instead.")
