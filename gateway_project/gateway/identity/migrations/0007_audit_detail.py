from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0006_turns"),
    ]

    operations = [
        migrations.AlterField("auditentry", "detail", models.CharField(max_length=4100)),
    ]
