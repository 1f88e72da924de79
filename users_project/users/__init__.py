"""Users: their store, API and admin."""
