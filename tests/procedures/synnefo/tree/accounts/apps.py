"""Asks about stale content types after each migrate, as Django did when Synnefo was written."""
from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


def ask_about_stale_types(sender, interactive=True, **_):
    from django.contrib.contenttypes.models import ContentType

    known = {(model._meta.app_label, model._meta.model_name) for model in apps.get_models()}
    stale = [t for t in ContentType.objects.filter(app_label=sender.label) if (t.app_label, t.model) not in known]
    if not stale:
        return
    print("The following content types are stale:", ", ".join(t.model for t in stale))
    if interactive and input("Delete them? Type 'yes' to continue, or 'no' to cancel: ") == "yes":
        for one in stale:
            one.delete()
    else:
        print("Stale content types remain.")


class Accounts(AppConfig):
    name = "accounts"

    def ready(self):
        post_migrate.connect(ask_about_stale_types, sender=self)
