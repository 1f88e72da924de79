"""The DRF door, for people and for any WSGI server: proxy views, the API's documents, health."""
