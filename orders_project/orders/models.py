"""What is stored."""

from django.db import models


class Order(models.Model):
    """What someone ordered. `created_by` is the id of the user whose order it is."""

    class Status(models.TextChoices):
        """Where an order stands."""

        PLACED = "placed"
        CANCELLED = "cancelled"

    id = models.BigAutoField(primary_key=True)
    item = models.CharField(max_length=200)
    quantity = models.PositiveIntegerField(default=1)
    address = models.CharField(max_length=500)
    status = models.CharField(max_length=16, choices=Status, default=Status.PLACED)
    created_by = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-id",)
        # A page of one user's orders, newest first, is one walk along this index.
        indexes = (models.Index(fields=["created_by", "-id"], name="orders_of_user"),)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} × {self.item}"
