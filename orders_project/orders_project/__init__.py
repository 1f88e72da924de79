"""The orders project: settings and URLs."""
