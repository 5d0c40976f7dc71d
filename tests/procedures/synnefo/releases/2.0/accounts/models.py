"""What 2.0 knows: invitations are gone, their content type is stale."""
from django.db import models


class User(models.Model):
    name = models.CharField(max_length=80)
    quota = models.BigIntegerField(default=0)
