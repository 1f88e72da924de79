"""The fast door, for programs: an ASGI application in front of Django's, and HTTP/1.1 to the services."""
