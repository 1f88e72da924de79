"""What gunicorn serves: the fast door, and Django behind it."""

from gateway_project.wsgi import application as django  # isort: skip  # sets Django up, loads gateway.yaml and the keys
from gateway.portal.loop import ENDPOINTS
from gateway.proxy.application import Gateway

application = Gateway(django, ENDPOINTS)
