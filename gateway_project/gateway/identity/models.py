"""What the gateway stores of its own: sessions, failed sign-ins. No users, no passwords, no tokens."""

from django.db import models

from gateway.policy import backoff


class Session(models.Model):
    """Begins with a login, ends with a logout. Only the refresh token with its `refresh_jti` is valid."""

    id = models.CharField(primary_key=True, max_length=32, help_text="`sid` of the session's tokens.")
    user_id = models.CharField(max_length=64, db_index=True)
    session_epoch = models.PositiveBigIntegerField(
        help_text="The login service's count of how often it ended this user's sessions, when this one began."
    )
    refresh_jti = models.CharField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, db_index=True)
    client_address = models.CharField(max_length=45, db_default="", help_text="Where it was last used from.")
    user_agent = models.CharField(
        max_length=200, db_default="", help_text="What it was last used with, as far as that says."
    )

    def __str__(self) -> str:
        return f"session {self.pk} of user {self.user_id}"


class Follower(models.Model):
    """The place up to which the login service's list of ended sessions has been read. One row."""

    cursor = models.CharField(max_length=200)
    claimed_at = models.DateTimeField(null=True, help_text="When a worker last took its turn to read the list.")

    def __str__(self) -> str:
        return self.cursor


class Attempts(models.Model):
    """The weight of failed sign-ins of a username, a client's network, or both together; see `attempts`."""

    key = models.CharField(primary_key=True, max_length=32, help_text="Keyed hash of whom it weighs on.")
    weight = models.FloatField(default=0.0)
    at = models.FloatField(default=0.0, help_text="The last try, in Unix seconds.")
    expires_at = models.FloatField(db_index=True, help_text="When the row is of no use any more, in Unix seconds.")

    def __str__(self) -> str:
        return f"{self.weight:g} failures of {self.key}"

    @property
    def counted(self) -> backoff.Failures:
        """The row as policy's value."""
        return backoff.Failures(self.weight, self.at)


class SigningKey(models.Model):
    """A signing key, encrypted; see `key_storage`."""

    name = models.CharField(primary_key=True, max_length=64)
    content = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """What someone did with identities; see `audit`. Entries are never changed, and deleted after AUDIT_DAYS."""

    at = models.DateTimeField(db_index=True)
    event = models.CharField(max_length=32)
    user_id = models.CharField(max_length=64, db_index=True, help_text="Whom it concerns.")
    username = models.CharField(max_length=150)
    by = models.CharField(max_length=150, help_text="Who did it, where that is another.")
    client_address = models.CharField(max_length=45)
    session = models.CharField(max_length=32)
    request_id = models.CharField(max_length=64)
    detail = models.CharField(max_length=4100)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.event} {self.username}"
