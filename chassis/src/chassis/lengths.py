"""The value of `Content-Length`, for everything that reads it."""

# `int` rejects thousands of digits; no body has more bytes than this.
_MAX_DIGITS = 18


def content_length(value: str) -> int:
    """Return the number of bytes; raise `ValueError` for a value with anything but ASCII digits.

    `int` accepts more: signs, underscores, digits of other scripts.
    """
    if not (value.isascii() and value.isdigit()):
        raise ValueError("Invalid Content-Length. Send the body's number of bytes.")
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
