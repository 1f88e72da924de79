"""A stock Django REST framework service on the chassis, with files. Nothing in it is for pages or forms.

python -m tests.browser.stock_service PORT GATEWAY
"""

import sys
import tempfile
from pathlib import Path
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command

import chassis

urlpatterns: list[object] = []


def configure(folder: Path, gateway: str) -> None:
    settings.configure(
        SECRET_KEY="for tests only",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "chassis"],
        MIDDLEWARE=chassis.MIDDLEWARE,
        REST_FRAMEWORK=chassis.REST_FRAMEWORK
        | {"DEFAULT_PARSER_CLASSES": ["chassis.parsers.StrictJSONParser", "rest_framework.parsers.MultiPartParser"]},
        SPECTACULAR_SETTINGS=chassis.SPECTACULAR_SETTINGS,
        GATEHOUSE={"SERVICE": "covers", "GATEWAY": gateway},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "covers.sqlite3"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MEDIA_ROOT=folder / "media",
        MEDIA_URL="/media/",
        USE_TZ=True,
    )
    django.setup()


def urls() -> list[object]:
    from django.core.validators import FileExtensionValidator
    from django.db import connection, models
    from rest_framework import serializers, viewsets
    from rest_framework.routers import DefaultRouter

    class Cover(models.Model):
        title = models.CharField(max_length=100)
        pages = models.PositiveIntegerField(default=1)
        image = models.FileField(validators=[FileExtensionValidator(["png"])])

        class Meta:
            app_label = "covers"
            ordering = ("-id",)

        def __str__(self) -> str:
            return self.title

    class CoverSerializer(serializers.ModelSerializer[Cover]):
        class Meta:
            model = Cover
            fields = ("id", "title", "pages", "image")

    class CoverViewSet(viewsets.ModelViewSet[Cover]):
        queryset = Cover.objects.all()
        serializer_class = CoverSerializer

    with connection.schema_editor() as editor:
        editor.create_model(Cover)
    router = DefaultRouter(trailing_slash=False)
    router.register("covers", CoverViewSet)
    return list(router.urls)


def main(port: int, gateway: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        configure(Path(folder), gateway)
        call_command("migrate", verbosity=0)
        urlpatterns.extend(urls())
        from django.core.wsgi import get_wsgi_application

        make_server("127.0.0.1", port, get_wsgi_application()).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
