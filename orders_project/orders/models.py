"""What is stored. `Order.objects.of(owner)` is the only way to orders."""

from typing import Never

from django.db import models


class OwnedOrders(models.Manager["Order"]):
    """Rejects a query without an owner: it would show a user the orders of others."""

    def of(self, owner: int) -> "models.QuerySet[Order]":
        return super().get_queryset().filter(created_by=owner)

    def get_queryset(self) -> Never:
        raise TypeError("An order's query needs an owner. Write Order.objects.of(owner).")


class Order(models.Model):
    class Status(models.TextChoices):
        """A placed order is cancelled by its owner or shipped by the warehouse; either is final."""

        PLACED = "placed"
        CANCELLED = "cancelled"
        SHIPPED = "shipped"

    id = models.BigAutoField(primary_key=True)
    item = models.CharField(max_length=200)
    quantity = models.PositiveIntegerField(default=1)
    address = models.CharField(max_length=500)
    status = models.CharField(max_length=16, choices=Status, default=Status.PLACED)
    created_by = models.PositiveBigIntegerField()  # the user's id, from the passport
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OwnedOrders()

    class Meta:
        # A page is read along one of these, however many orders there are.
        indexes = (
            models.Index(fields=["created_by", "-created_at", "-id"], name="orders_of_user"),
            models.Index(fields=["created_by", "status", "-created_at", "-id"], name="orders_of_user_by_status"),
        )

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} × {self.item}"


class StoredResponse(models.Model):
    """The response to a request with an `Idempotency-Key`, for the same request to be sent again."""

    id = models.BigAutoField(primary_key=True)
    owner = models.PositiveBigIntegerField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["owner", "key"], name="one_response_for_a_key"),)

    def __str__(self) -> str:
        return f"{self.status} for {self.key} of user {self.owner}"
