"""The users project: settings and URLs."""
