from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0001_initial")]
    operations = [migrations.AddField("server", "flavor", models.CharField(default="small", max_length=80))]
