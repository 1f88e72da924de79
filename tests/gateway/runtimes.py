"""The runtime of the gateway in this process: one for each test, built at first use."""

import threading
from typing import cast

from django.apps import apps
from django.utils.functional import SimpleLazyObject
from tests.waiting import wait_until

from gateway import configuration
from gateway.apps import GatewayConfig
from gateway.runtime import Runtime

_built: list[Runtime] = []
_building = threading.Lock()


def runtime() -> Runtime:
    return cast("GatewayConfig", apps.get_app_config("gateway")).runtime


def wait_for_documents() -> None:
    """Wait for the services' OpenAPI documents: the first page waits for a second at most, then it has plain forms."""
    documents = runtime().documents

    def are_merged() -> bool:
        documents.upstreams.run(documents.shared.get())
        return documents.is_current and not documents.missing()

    wait_until(are_merged, "the services' OpenAPI documents")


def renew() -> None:
    """Close the runtime that there is. The next one is built by the settings as they are when it is needed."""
    while _built:
        _built.pop().upstreams.close()
    cast("GatewayConfig", apps.get_app_config("gateway")).runtime = cast("Runtime", SimpleLazyObject(_build))


def _build() -> Runtime:
    with _building:
        if not _built:
            _built.append(Runtime.build(configuration.load_config()))
            # Tests read the lists themselves, when it suits them.
            _built[0].revocations.started = True
        return _built[0]
