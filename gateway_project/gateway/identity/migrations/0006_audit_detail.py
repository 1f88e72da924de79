from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0005_audit"),
    ]

    operations = [
        migrations.AlterField("auditentry", "detail", models.CharField(max_length=4100)),
    ]
