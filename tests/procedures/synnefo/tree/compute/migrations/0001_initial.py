from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Server",
            [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=80))],
        ),
    ]
