"""What queries see of users. The models only read: `services` is the one way to write, through the store.

With a file as the store, these tables are the index beside it; with PostgreSQL they are what is stored.
"""

import json
from hashlib import blake2b
from typing import Any, ClassVar, NoReturn, Self, cast

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

from chassis.problems import Conflict
from chassis.validators import printable

username_characters = RegexValidator(
    r"\A[A-Za-z0-9@.+_-]+\Z", "Use only ASCII letters, digits and @ . + - _", code="username_characters"
)
ascii_only = RegexValidator(r"\A[\x21-\x7e]+\Z", "Use only ASCII characters, without spaces.", code="ascii_only")
_BYPASS = "Users are written by users.services alone: this would change tables and not what is stored."


class BypassError(TypeError):
    """A write that does not go through the services."""


class ReadOnlyQuerySet(models.QuerySet["User"]):
    """Users. Every write is rejected."""

    def refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise BypassError(_BYPASS)

    update = bulk_create = bulk_update = delete = refuse

    def named(self, name: str, field: str = "username") -> Self:
        """Return the user of that username, or email, in any case, along the unique index."""
        return self.alias(lowered=Lower(field)).filter(lowered=name.lower())

    def active_admins(self) -> Self:
        return self.filter(user_type=User.Type.ADMIN, is_active=True)


class UserManager(BaseUserManager["User"].from_queryset(ReadOnlyQuerySet)):  # type: ignore[misc]  # made at run time
    """`create_through` is `services.user_create`, set when the app is ready."""

    create_through: ClassVar[Any] = None

    def create_superuser(self, username: str, email: str, password: str | None = None) -> "User":
        """Create an admin, for `manage.py createsuperuser`. Raises `ValidationError` if a name is taken."""
        values = {"username": username, "email": email, "password": password or "", "user_type": User.Type.ADMIN}
        try:
            return cast("User", type(self).create_through(**values))
        except Conflict as exc:
            raise ValidationError(str(exc.detail)) from exc


class User(AbstractBaseUser):
    """A person who may sign in.

    A session that began in an earlier `session_epoch` has ended, but for `kept_session`, in which users changed their
    own password. `session_end` numbers the ends of all users' sessions in their order; 0 is never.
    """

    class Type(models.TextChoices):
        ADMIN = "admin"
        DEFAULT = "default"

    id = models.BigAutoField(primary_key=True)
    username = models.CharField(
        max_length=150, validators=[username_characters], help_text="At most 150 ASCII letters, digits and @ . + - _"
    )
    email = models.EmailField(max_length=254, validators=[ascii_only])
    full_name = models.CharField(max_length=150, blank=True, default="", validators=[printable])
    user_type = models.CharField(max_length=16, choices=Type, default=Type.DEFAULT)
    is_active = models.BooleanField(default=True)
    created_by = models.PositiveBigIntegerField(null=True, blank=True, default=None, editable=False)
    created_at = models.DateTimeField(editable=False, db_index=True)
    updated_by = models.PositiveBigIntegerField(null=True, blank=True, default=None, editable=False)
    updated_at = models.DateTimeField(editable=False)
    password_changed_at = models.DateTimeField(null=True, blank=True, default=None, editable=False)
    session_epoch = models.PositiveBigIntegerField(default=0, editable=False)
    kept_session = models.CharField(max_length=255, blank=True, default="", editable=False)
    session_end = models.PositiveBigIntegerField(default=0, editable=False, db_index=True)
    last_login = None  # it would be a write for each login
    # Whether this version has only a new hash of the same password.
    is_rehash = False

    objects = UserManager()

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                Lower("username"), name="users_username", violation_error_message="This username is taken."
            ),
            models.UniqueConstraint(
                Lower("email"), name="users_email", violation_error_message="This email address is taken."
            ),
        )

    def __str__(self) -> str:
        return self.username

    @property
    def version(self) -> str:
        """A value that is different after each change, but not after a new hash of the same password."""
        names = ("id", "username", "email", "full_name", "user_type", "is_active", "updated_at", "session_epoch")
        values = [getattr(self, name) for name in names]
        return blake2b(json.dumps(values, default=str).encode(), digest_size=12).hexdigest()

    @property
    def is_admin(self) -> bool:
        return self.is_active and self.user_type == self.Type.ADMIN

    # What Django's admin asks: the one permission here is to be an admin.
    is_staff = is_admin

    def has_perm(self, perm: str, obj: models.Model | None = None) -> bool:
        return self.is_admin

    has_module_perms = has_perm

    def refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise BypassError(_BYPASS)

    save = delete = refuse


class Deletion(models.Model):
    """That a user was deleted. It stays, so that the id is never given again and the sessions stay ended."""

    id = models.BigIntegerField(primary_key=True)
    updated_at = models.DateTimeField()
    updated_by = models.PositiveBigIntegerField(null=True, blank=True, default=None)
    session_epoch = models.PositiveBigIntegerField(default=0)
    session_end = models.PositiveBigIntegerField(default=0, db_index=True)

    def __str__(self) -> str:
        return f"deletion of user {self.id}"


# What a line of the record is.
Entry = User | Deletion


class UserVersion(models.Model):
    """A version of a user as a line of the record would have it, without the hash. Used on PostgreSQL alone."""

    id = models.BigAutoField(primary_key=True)
    user_id = models.PositiveBigIntegerField()
    line = models.TextField()

    class Meta:
        indexes = (models.Index(fields=["user_id", "id"], name="users_versions"),)

    def __str__(self) -> str:
        return f"version {self.id} of user {self.user_id}"


class Position(models.Model):
    """What the other tables reflect: one row, changed in one transaction with them.

    `identity`, `offset`, `lines` and `digest` are of the record, `ids` counts the users that it has or had. Another
    `generation` means that all sessions have to end. New ids are above `floor`.
    """

    identity = models.CharField(max_length=200, blank=True, default="")
    offset = models.PositiveBigIntegerField(default=0)
    lines = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True, default="")
    ids = models.PositiveBigIntegerField(default=0)
    generation = models.CharField(max_length=32)
    floor = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.lines} lines, {self.offset} bytes"
