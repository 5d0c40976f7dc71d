from django.db import migrations, models


def field():
    return ("id", models.BigAutoField(primary_key=True))


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("User", [field(), ("name", models.CharField(max_length=80))]),
        migrations.CreateModel("Invitation", [field(), ("code", models.CharField(max_length=80))]),
    ]
