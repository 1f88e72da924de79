"""Where sessions are used from and with."""

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Sessions from before show neither until they are refreshed."""

    dependencies: ClassVar[list[tuple[str, str]]] = [("identity", "0002_attempts")]
    operations: ClassVar[list[Operation]] = [
        migrations.AddField(
            "session",
            "client_address",
            models.CharField(db_default="", max_length=45, help_text="Where it was last used from."),
        ),
        migrations.AddField(
            "session",
            "user_agent",
            models.CharField(
                db_default="", max_length=200, help_text="What it was last used with, as far as that says."
            ),
        ),
        migrations.AlterField("session", "expires_at", models.DateTimeField(db_index=True)),
    ]
