"""A small service on the chassis: a stock `ModelViewSet`, a strict endpoint, and views that fail."""
