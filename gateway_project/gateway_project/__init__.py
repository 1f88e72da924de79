"""The gateway project: settings and URLs."""
