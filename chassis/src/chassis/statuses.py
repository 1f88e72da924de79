"""The name of an HTTP status: a problem's title, and a response's reason phrase."""

from http import HTTPStatus

# Python before 3.13 has the names of older RFCs.
_RFC_9110 = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def reason_phrase(status: int) -> str:
    return _RFC_9110.get(status) or HTTPStatus(status).phrase
