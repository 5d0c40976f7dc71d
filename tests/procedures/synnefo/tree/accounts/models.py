"""What 1.0 knows."""
from django.db import models


class User(models.Model):
    name = models.CharField(max_length=80)


class Invitation(models.Model):
    code = models.CharField(max_length=80)
