"""What an answer is written in (RFC 9110, section 12.5.1): JSON, or the JSON of a problem."""

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from .problems import MEDIA_TYPE


class Negotiation(DefaultContentNegotiation):
    """DRF's, for which who accepts problems accepts JSON too: nobody knows before which of the two it will be."""

    def get_accept_list(self, request: Request) -> list[str]:
        """Return the media types that the request accepts."""
        accepted: list[str] = super().get_accept_list(request)
        problems = any(each.partition(";")[0].strip().lower() == MEDIA_TYPE for each in accepted)
        return [*accepted, "application/json"] if problems else accepted
