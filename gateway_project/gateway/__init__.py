"""An API gateway: gateway.yaml says what is exposed; login, tokens, access and limits are done here, once."""
