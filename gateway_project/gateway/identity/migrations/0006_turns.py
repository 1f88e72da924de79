from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0005_audit"),
    ]

    operations = [
        migrations.AddField(
            model_name="follower",
            name="claimed_at",
            field=models.DateTimeField(help_text="When a worker last took its turn to read the list.", null=True),
        ),
    ]
