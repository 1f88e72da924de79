"""Writes. Each is stored durably when it returns. Passwords are hashed before the writer's turn."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.db import DatabaseError
from rest_framework.exceptions import APIException, ValidationError

from chassis.problems import Conflict, Errors

from . import passwords, store
from .models import User
from .passwords import MAX_LENGTH
from .selectors import user_get

log = logging.getLogger(__name__)

_OWN = "You cannot delete, demote or deactivate yourself."
_LAST_ADMIN = "This is the last active admin. Make another user an admin first."


def user_create(*, password: str, created_by: int | None = None, **values: Any) -> User:  # noqa: ANN401  # fields
    """Create a user. Raises `Conflict` for a username or email that is taken, in any case."""
    user = User(**values, password=passwords.make(password))
    with store.writing() as writer:
        _check_unique(user)
        writer.put(user, by=created_by)
    return user


def user_update(
    *,
    user_id: int,
    actor: int,
    kept_session: str = "",
    if_version: Callable[[User], object] | None = None,
    **changes: Any,  # noqa: ANN401  # fields, and the password
) -> User:
    """Change the user and return it. Their sessions end if their password, role or activity changes.

    `actor` is the id of the user who makes the change; of their own sessions, `kept_session` goes on. Raises `Http404`,
    what `if_version` raises for the stored user, and `Conflict` for a name that is taken, for the actor's own rights
    and for the last active admin.
    """
    if "password" in changes:
        changes["password"] = passwords.make(changes["password"])
    with store.writing() as writer:
        user = user_get(user_id=user_id)
        if if_version:
            if_version(user)
        was_admin = user.is_admin
        changed = {name: value for name, value in changes.items() if getattr(user, name) != value}
        for name, value in changed.items():
            setattr(user, name, value)
        if was_admin and not user.is_admin:
            _check_dispensable(user, actor=actor, fields=sorted(changed.keys() & {"user_type", "is_active"}))
        _check_unique(user)
        if changed:
            writer.put(user, by=actor, kept_session=kept_session if actor == user_id else "")
    return user


def users_set_active(*, user_ids: Iterable[int], actor: int, is_active: bool) -> tuple[int, dict[int, str]]:
    """Activate or deactivate many users in one write: all that the rules allow, or none if it raises.

    Returns how many were changed, and by id why others could not be.
    """
    changed, rejected = 0, {}
    with store.writing() as writer:
        for user_id in user_ids:
            user: User | None = User.objects.filter(pk=user_id).first()
            if user is None:
                rejected[user_id] = "This user was deleted."
            elif user.is_active != is_active:
                try:
                    if user.is_admin:
                        _check_dispensable(user, actor=actor)
                except Conflict as exc:
                    rejected[user_id] = str(exc.detail)
                else:
                    user.is_active = is_active
                    writer.put(user, by=actor)
                    changed += 1
    return changed, rejected


def user_delete(*, user_id: int, actor: int, if_version: Callable[[User], object] | None = None) -> None:
    """Delete the user. Raises as `user_update`."""
    with store.writing() as writer:
        user = user_get(user_id=user_id)
        if if_version:
            if_version(user)
        if user.pk == actor:
            raise Conflict(_OWN)
        if user.is_admin:
            _check_dispensable(user, actor=actor)
        writer.remove(user, by=actor)


def password_change(*, user_id: int, old_password: str, new_password: str, session: str) -> None:
    """Change the user's own password. `session` goes on, their others end.

    Raises `Http404`, `ValidationError`, and `Conflict` if the password was changed at the same time.
    """
    before = user_get(user_id=user_id)
    if len(old_password) > MAX_LENGTH or not passwords.check(before, old_password)[0]:
        raise ValidationError({"old_password": ["This is not your password."]})
    encoded = passwords.make(new_password)
    with store.writing() as writer:
        user = user_get(user_id=user_id)
        if user.password != before.password:
            raise Conflict("The password was changed at the same time. Try again.")
        user.password = encoded
        writer.put(user, by=user_id, kept_session=session)


def credentials_check(*, username: str, password: str) -> User | None:
    """Return the active user of that name and password, or None, after the same time whatever is wrong.

    A hash of another program, or of other parameters than the settings', is replaced. Raises `Busy`.
    """
    user: User | None = User.objects.named(username).first()
    if len(password) > MAX_LENGTH:
        user = None
    is_correct, is_outdated = passwords.check(user, password[:MAX_LENGTH])
    if user is None or not is_correct or not user.is_active:
        passwords.spend_time_of_others(user.password if user else "!")
        return None
    if is_outdated:
        _rehash(user, password)
    return user


def _check_dispensable(admin: User, *, actor: int, fields: Iterable[str] = ()) -> None:
    """Raise `Conflict` that names the fields if the active admin is the actor or the only one."""
    is_only = not User.objects.active_admins().exclude(pk=admin.pk).exists()
    if message := _OWN if admin.pk == actor else _LAST_ADMIN if is_only else "":
        raise Conflict(message, {field: [message] for field in fields})


def _check_unique(user: User) -> None:
    others = User.objects.exclude(pk=user.pk)
    errors: Errors = {}
    if others.named(user.username).exists():
        errors["username"] = ["This username is taken."]
    if others.named(user.email, "email").exists():
        errors["email"] = ["This email address is taken."]
    if errors:
        raise Conflict(" ".join(message for messages in errors.values() for message in messages), errors)


def _rehash(user: User, password: str) -> None:
    """Hash the password again with the parameters of the settings. A failure is no reason to reject the login."""
    encoded = passwords.make(password)
    try:
        with store.writing() as writer:
            current: User | None = User.objects.filter(pk=user.pk, password=user.password).first()
            if current:
                current.password = encoded
                writer.put(current, is_rehash=True)
    except (APIException, DatabaseError) as exc:
        log.warning("The hash of user %d was not renewed: %s", user.pk, exc)
