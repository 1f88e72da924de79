from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=100)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.title


class Sale(models.Model):
    item = models.CharField(max_length=200)
    quantity = models.PositiveIntegerField(default=1)
    address = models.CharField(max_length=500)
    owner = models.PositiveBigIntegerField()

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.item
