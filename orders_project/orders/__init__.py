"""Orders: place, list, get, cancel."""
