"""Query parameters: an unknown or repeated one is an error, because an ignored filter looks like an applied one."""

from collections.abc import Collection
from typing import Any

from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from .pagination import PARAMETERS
from .serializers import MAX_NAMED, printable_name


def query_parameters(request: Request, known: Collection[str]) -> QueryDict:
    """Return the query; raise `ValidationError` that names each parameter that is unknown or repeated."""
    query = request.query_params
    if query:
        check_query(query, known)
    return query


def filters_from(request: Request, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    """Return the query's values for a list, validated by a serializer that has a field for each filter."""
    known = (*PARAMETERS, *serializer._declared_fields)  # noqa: SLF001  # without making a serializer
    query = query_parameters(request, known)
    if not any(name in query for name in serializer._declared_fields):  # noqa: SLF001
        return {}
    filters = serializer(data=query.dict())
    filters.is_valid(raise_exception=True)
    return dict(filters.validated_data)


def check_query(query: QueryDict, known: Collection[str]) -> None:
    errors = {}
    for name, values in query.lists():
        if name not in known:
            errors[printable_name(name)] = [f"Unknown parameter. Expected one of: {', '.join(known)}."]
        elif len(values) > 1:
            errors[name] = [f"Expected this parameter once, got it {len(values)} times."]
    if errors:
        raise ValidationError(dict(list(errors.items())[:MAX_NAMED]))
