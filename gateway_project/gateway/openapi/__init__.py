"""One OpenAPI document of all that gateway.yaml exposes, merged from the services' own."""
