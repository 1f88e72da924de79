"""The chassis' problems, under the name that `passwords` imports them by."""

from chassis.problems import Unavailable

__all__ = ["Unavailable"]
