"""Settings of one part. The connection comes from the PG* variables, which libpq reads itself."""
import os

PART = os.environ["SYNNEFO_PART"]
SECRET_KEY = "of a test"
INSTALLED_APPS = ["django.contrib.contenttypes", PART]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
