"""Decisions on a request: values in, values out. No I/O, no clock, no Django."""
