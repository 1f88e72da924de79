"""`Idempotency-Key`: a request that is sent again gets the first response.

This is draft-ietf-httpapi-idempotency-key-header-07. The response is stored in the transaction that does the work, so a
crash leaves both or neither. Of two requests at the same time with one key, the second violates the constraint
`one_response_for_a_key`, is rolled back, and gets the response of the first.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import blake2b

from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.utils import timezone
from django.utils.cache import set_response_etag
from rest_framework.exceptions import APIException, ValidationError

from .models import StoredResponse
from .turns import write_turn

KEEP_FOR = timedelta(hours=24)
# How many expired responses each new one replaces at most.
MAX_PURGED = 10
# Printable ASCII in quotes (RFC 9651, section 3.3.3), or without them as most clients send it. No comma: proxies join
# repeated headers with one.
KEY = re.compile(r'"(?P<quoted>[ !#-+\--\[\]-~]{1,255})"|(?P<bare>[!#-+\--\[\]-~]{1,255})')


class IdempotencyKeyReused(APIException):
    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key came with another body before. Send that body again, or use a new key."


def respond_once(
    *, owner: int, header: str | None, values: Mapping[str, object], work: Callable[[], HttpResponse]
) -> HttpResponse:
    """Return the response stored for the owner's key, or do the work and store its response.

    `values` are the validated body. Without the header, just do the work.
    """
    if header is None:
        return work()
    key = _parse_key(header)
    fingerprint = blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=32).hexdigest()
    if response := _stored(owner, key, fingerprint):
        return response
    try:
        with write_turn(), transaction.atomic():
            _purge()
            StoredResponse.objects.filter(owner=owner, key=key, created_at__lte=timezone.now() - KEEP_FOR).delete()
            response = work()
            StoredResponse.objects.create(
                owner=owner,
                key=key,
                fingerprint=fingerprint,
                status=response.status_code,
                location=response.headers["Location"],
                body=response.content.decode(),
            )
    except IntegrityError:
        if response := _stored(owner, key, fingerprint):
            return response
        raise
    return response


def _parse_key(header: str) -> str:
    match = KEY.fullmatch(header)
    if match is None:
        expected = "Expected 1 to 255 printable ASCII characters without comma, quote or backslash."
        raise ValidationError({"Idempotency-Key": [expected]})
    return match["quoted"] or match["bare"]


def _stored(owner: int, key: str, fingerprint: str) -> HttpResponse | None:
    found = StoredResponse.objects.filter(owner=owner, key=key, created_at__gt=timezone.now() - KEEP_FOR).first()
    if found is None:
        return None
    if found.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    headers = {"Location": found.location}
    response = HttpResponse(found.body, status=found.status, content_type="application/json", headers=headers)
    set_response_etag(response)
    return response


def _purge() -> None:
    """Delete expired responses, a few at a time: each new one deletes more than it adds."""
    oldest = StoredResponse.objects.order_by("pk").values_list("pk", "created_at")[:MAX_PURGED]
    expired = [pk for pk, created_at in oldest if created_at <= timezone.now() - KEEP_FOR]
    if expired:
        StoredResponse.objects.filter(pk__in=expired).delete()
