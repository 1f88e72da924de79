"""What is stored. Orders are read and changed through `Order.objects.of(owner)`; there is no other way."""

from typing import Never

from django.db import models


class OwnedOrders(models.Manager["Order"]):
    """Gives one owner's orders, and refuses to give orders whoever they belong to."""

    def of(self, owner: int) -> "models.QuerySet[Order]":
        """Return the orders of the user of that id."""
        return super().get_queryset().filter(created_by=owner)

    def get_queryset(self) -> Never:
        """Refuse: a query without its owner would show one user what another one ordered."""
        raise TypeError("expected an owner: Order.objects.of(owner)")


class Order(models.Model):
    """What someone ordered. `created_by` is the id of the user whose order it is."""

    class Status(models.TextChoices):
        """Where an order stands: from `placed` it goes to one of the other two, and stays there.

        Nothing in this API ships: whoever packs the parcels does.
        """

        PLACED = "placed"
        CANCELLED = "cancelled"
        SHIPPED = "shipped"

    id = models.BigAutoField(primary_key=True)
    item = models.CharField(max_length=200)
    quantity = models.PositiveIntegerField(default=1)
    address = models.CharField(max_length=500)
    status = models.CharField(max_length=16, choices=Status, default=Status.PLACED)
    created_by = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OwnedOrders()

    class Meta:
        ordering = ("-created_at", "-id")
        # A page, whatever it is filtered by, is one walk along one of these, however many orders there are.
        indexes = (
            models.Index(fields=["created_by", "-created_at", "-id"], name="orders_of_user"),
            models.Index(fields=["created_by", "status", "-created_at", "-id"], name="orders_of_user_by_status"),
        )

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} × {self.item}"


class KeptAnswer(models.Model):
    """What a request with that `Idempotency-Key` was answered with; kept for the same request to come again."""

    id = models.BigAutoField(primary_key=True)
    owner = models.PositiveBigIntegerField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["owner", "key"], name="one_answer_for_a_key"),)

    def __str__(self) -> str:
        return f"{self.status} for {self.key} of user {self.owner}"
