"""The users API over HTTP: public, and internal for the gateway alone. Views validate, call a service, respond."""
