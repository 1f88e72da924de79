"""Numbers for people, in templates."""

from django.template import Library

from gateway.portal.dashboard import charts

register = Library()
register.filter("number", charts.number)
register.filter("duration", charts.duration)
