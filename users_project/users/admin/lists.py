"""The list of users, which reads only what a page shows."""

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

# The lookups that the list's filters use. Others would read what no page shows, such as hashes.
LOOKUPS = frozenset(
    f"{field}__{lookup}"
    for field, lookups in {
        "user_type": ("exact", "isnull"),
        "is_active": ("exact", "isnull"),
        "created_at": ("gte", "lt", "isnull"),
    }.items()
    for lookup in lookups
)


class UserList(ChangeList):
    """The list. Beside the search it shows how many were found."""

    def get_results(self, request: HttpRequest) -> None:
        """Find the page, and whether it is of all users."""
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count
