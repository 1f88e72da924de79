"""What gunicorn serves: the fast door, and Django behind it."""

from gateway_project.wsgi import application as django  # isort: skip  # sets Django up, loads gateway.yaml and the keys
from gateway.portal import documents, health
from gateway.proxy.application import Gateway

application = Gateway(django, {"/readyz": health.answer, "/openapi.json": documents.prepare})
