"""What a status is called: the title of a problem, and the reason phrase of an answer.

This file is the same in each project.
"""

from http import HTTPStatus

# Python before 3.13 has the names of older RFCs.
IN_RFC_9110 = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title(status: int) -> str:
    """Return what RFC 9110, section 15, calls the status, or the RFC that defines it."""
    return IN_RFC_9110.get(status) or HTTPStatus(status).phrase
