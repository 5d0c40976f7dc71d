from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.AddField("user", "quota", models.BigIntegerField(default=0)),
        migrations.DeleteModel("Invitation"),
    ]
