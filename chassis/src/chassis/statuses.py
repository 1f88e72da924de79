"""The name of an HTTP status: a problem's title, a response's reason phrase, and a problem's code in need of one."""

from http import HTTPStatus

# Python before 3.13 has the names of older RFCs.
_RFC_9110 = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def reason_phrase(status: int) -> str:
    return _RFC_9110.get(status) or HTTPStatus(status).phrase


def code_of_status(status: int) -> str:
    """Return the code of a problem that has no better one: `not_found` for 404."""
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return "internal_error"
    return reason_phrase(status).lower().replace(" ", "_").replace("-", "_").replace("'", "")
