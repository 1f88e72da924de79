"""Query parameters: an unknown or repeated one is an error, because an ignored filter looks like an applied one."""

from collections.abc import Collection

from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from .serializers import MAX_NAMED, printable_name


def query_parameters(request: Request, known: Collection[str]) -> QueryDict:
    """Return the query; raise `ValidationError` that names each parameter that is unknown or repeated."""
    query = request.query_params
    if query:
        check_query(query, known)
    return query


def check_query(query: QueryDict, known: Collection[str]) -> None:
    errors = {}
    for name, values in query.lists():
        if name not in known:
            errors[printable_name(name)] = [f"Unknown parameter. Expected one of: {', '.join(known)}."]
        elif len(values) > 1:
            errors[name] = [f"Expected this parameter once, got it {len(values)} times."]
    if errors:
        raise ValidationError(dict(list(errors.items())[:MAX_NAMED]))
