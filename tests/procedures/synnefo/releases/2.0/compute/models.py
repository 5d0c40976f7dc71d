"""Virtual machines, with their flavor."""
from django.db import models


class Server(models.Model):
    name = models.CharField(max_length=80)
    flavor = models.CharField(max_length=80, default="small")
