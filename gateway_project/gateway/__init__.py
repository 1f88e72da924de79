"""An API gateway: gateway.yaml declares what is exposed; login, tokens, access and limits are done here, once."""
