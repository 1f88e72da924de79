"""Path converters for Django's URLs."""


class Id:
    """A positive integer in its one spelling: 1, not 01. Register it with `register_converter(Id, "id")`."""

    regex = "[1-9][0-9]{0,17}"  # as many digits as a user's id may have

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)
