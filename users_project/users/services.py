"""Writes. Each is on disk when it returns. Passwords are hashed before the writer's turn, which is everybody's."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NoReturn, TypedDict, Unpack

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from rest_framework.exceptions import APIException

from chassis.problems import Conflict, Errors

from . import journal, passwords
from .models import User
from .passwords import MAX_LENGTH, UncheckableError
from .selectors import user_get

log = logging.getLogger(__name__)

OWN = "One cannot delete, demote or deactivate oneself."
LAST_ADMIN = "This is the last active admin; make another one first."


# Seconds until it is asked again which kinds of imported hashes are left: that looks at every user.
IMPORTED_HASHES_FOR = 10


class UserChanges(TypedDict, total=False):
    """What can be changed of a user."""

    username: str
    email: str
    full_name: str
    user_type: str
    is_active: bool
    password: str


def whoever(user: User) -> None:
    """Check nothing."""


class WrongPasswordError(ValidationError):
    """The old password is not the user's."""


def user_create(
    *,
    username: str,
    email: str,
    password: str,
    full_name: str = "",
    user_type: str = User.Type.DEFAULT,
    is_active: bool = True,
    created_by: int | None = None,
) -> User:
    """Make a user and return it. Raises `Conflict` for a username or email that another has, in any case."""
    user = User(
        username=username,
        email=email,
        full_name=full_name,
        user_type=user_type,
        is_active=is_active,
        created_by=created_by,
        password=make_password(password),
    )
    with journal.writing() as changes:
        check_unique(user)
        changes.put(user)
    return user


def user_update(
    *,
    user_id: int,
    actor: int,
    kept_session: str = "",
    check: Callable[[User], object] = whoever,
    **changes: Unpack[UserChanges],
) -> User:
    """Change the user and return it, ending their sessions where their password, role or activity changes so.

    `actor` is the id of who asks; of one's own sessions `kept_session` goes on. Raises `Http404`, what `check`
    does of the user as they are, and `Conflict` for a username or email that another has, for oneself and for the last
    active admin.
    """
    values: dict[str, object] = {name: value for name, value in changes.items() if name != "password"}
    if "password" in changes:
        values["password"] = make_password(changes["password"])
    with journal.writing() as writer:
        user = user_get(user_id=user_id)
        check(user)
        was_admin = user.is_admin
        changed = {name: value for name, value in values.items() if getattr(user, name) != value}
        for name, value in changed.items():
            setattr(user, name, value)
        if was_admin and not user.is_admin:
            check_dispensable(user, actor=actor, fields=sorted(changed.keys() & {"user_type", "is_active"}))
        check_unique(user)
        if changed:
            writer.put(user, by=actor, kept_session=kept_session if actor == user_id else "")
    return user


def users_set_active(*, user_ids: Iterable[int], actor: int, is_active: bool) -> tuple[int, dict[int, str]]:
    """Let many users sign in, or no more, in one write: all of them that no rule forbids, or none where this raises.

    Returns how many were changed, and by id why others could not be.
    """
    changed, refused = 0, {}
    with journal.writing() as writer:
        for user_id in user_ids:
            user: User | None = User.objects.filter(pk=user_id).first()
            if user is None:
                refused[user_id] = "This user was deleted meanwhile."
            elif user.is_active != is_active:
                try:
                    if user.is_admin:
                        check_dispensable(user, actor=actor, fields=[])
                    user.is_active = is_active
                    writer.put(user, by=actor)
                    changed += 1
                except Conflict as exc:
                    refused[user_id] = str(exc.detail)
                except ValidationError as exc:  # of a user that was edited by hand
                    refused[user_id] = " ".join(exc.messages)
    return changed, refused


def user_delete(*, user_id: int, actor: int, check: Callable[[User], object] = whoever) -> None:
    """Delete the user. Raises as `user_update`."""
    with journal.writing() as changes:
        user = user_get(user_id=user_id)
        check(user)
        check_deletable(user, actor=actor)
        changes.remove(user, by=actor)


def password_change(*, user_id: int, old_password: str, new_password: str, session: str) -> None:
    """Change one's own password; `session` goes on, the user's others end.

    Raises `Http404`, `WrongPasswordError`, and `Conflict` where the password was changed in the meantime.
    """
    before = user_get(user_id=user_id)
    if len(old_password) > MAX_LENGTH or not password_check(before, old_password)[0]:
        raise WrongPasswordError("This is not your password.")
    encoded = make_password(new_password)
    with journal.writing() as changes:
        user = user_get(user_id=user_id)
        if user.password != before.password:
            raise Conflict("The password was changed at the same time. Try again.")
        user.password = encoded
        changes.put(user, by=user_id, kept_session=session)


def credentials_check(*, username: str, password: str) -> User | None:
    """Return the active user of that name and password, or `None`, after the same time whatever is wrong.

    A hash that was imported, or made with other parameters than those of the settings, is made again. Raises `Busy`.
    """
    user: User | None = User.objects.named(username).first()
    if len(password) > MAX_LENGTH:
        user = None
    correct, outdated = password_check(user, password[:MAX_LENGTH])
    if user is None or not correct or not user.is_active:
        spend_like_others(user.password if user else "!")
        return None
    if outdated:
        rehash(user, password)
    return user


def password_check(user: User | None, password: str) -> tuple[bool, bool]:
    """Return whether the password is the user's, and whether its hash is to be made again. Raises `Busy`.

    With a hash that cannot be checked, no password is right.
    """
    # `!` is what a user without a password has: the time of one hash is spent on it.
    try:
        return passwords.verified(password, user.password if user else "!")
    except UncheckableError as exc:
        log.error("The hash of user %d cannot be checked: %s", user.pk if user else 0, exc)  # noqa: TRY400  # the hash is at fault
        return passwords.verified(password, "!")


def spend_like_others(encoded: str) -> None:
    """Make a hash of each kind that is stored, after a login with that one failed, while there are imported hashes.

    Those take another time than Argon2id, and the time must not tell who was imported.
    """
    own = passwords.kind(encoded)
    for other in imported_hashes(int(time.monotonic() / IMPORTED_HASHES_FOR)):
        if passwords.kind(other) != own:
            passwords.verified("", other)
        elif passwords.iterations(encoded) < passwords.iterations(other):
            # Django raises its iterations with each version: of one shop's users each may have another number.
            passwords.spend_iterations(passwords.iterations(other) - passwords.iterations(encoded))
    if passwords.is_checkable(encoded):
        make_password("")


@lru_cache(maxsize=1)
def imported_hashes(period: int) -> list[str]:
    """Return one of each kind that is stored, can be checked and is not Argon2id; looked for once in each period.

    Of PBKDF2 that of the most iterations.
    """
    others = User.objects.exclude(password__startswith="argon2$").exclude(password__startswith="!")
    found: dict[str, str] = {}
    for encoded in others.values_list("password", flat=True).iterator():
        known = found.get(passwords.kind(encoded))
        if (known is None or passwords.iterations(encoded) > passwords.iterations(known)) and passwords.is_checkable(
            encoded
        ):
            found[passwords.kind(encoded)] = encoded
    return list(found.values())


def rehash(user: User, password: str) -> None:
    """Hash the password again with the parameters of the settings. Not to be able to is no reason to refuse a login."""
    encoded = make_password(password)
    try:
        with journal.writing() as changes:
            current: User | None = User.objects.filter(pk=user.pk, password=user.password).first()
            if current:
                current.password = encoded
                changes.put(current, rehash=True)
    except APIException as exc:
        log.warning("The hash of user %d stays as it is: %s", user.pk, exc)


def check_unique(user: User) -> None:
    """Raise `Conflict` that names username and email, where other users have them."""
    others = User.objects.exclude(pk=user.pk)
    errors: Errors = {}
    if others.named(user.username).exists():
        errors["username"] = ["A user of this name exists already."]
    if others.with_email(user.email).exists():
        errors["email"] = ["A user with this email exists already."]
    if errors:
        raise Conflict(" ".join(message for messages in errors.values() for message in messages), errors)


def check_deletable(user: User, *, actor: int) -> None:
    """Raise `Conflict` for oneself and for the last active admin."""
    if user.pk == actor:
        raise Conflict(OWN)
    if user.is_admin:
        check_dispensable(user, actor=actor, fields=[])


def check_dispensable(admin: User, *, actor: int, fields: list[str]) -> None:
    """Raise `Conflict` that names the fields, where the active admin is oneself or the only one."""
    if admin.pk == actor:
        conflict(OWN, fields)
    if not User.objects.active_admins().exclude(pk=admin.pk).exists():
        conflict(LAST_ADMIN, fields)


def conflict(message: str, fields: list[str]) -> NoReturn:
    """Raise `Conflict` with that message for each of the fields."""
    raise Conflict(message, {field: [message] for field in fields})
