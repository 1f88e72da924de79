"""What holds for every test: a machine may be slow, so that no single example is timed."""

from hypothesis import settings

# The default run takes the same examples each time, and passes each time; `-m long` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)


def pytest_configure(config) -> None:
    settings.load_profile("same" if "not long" in config.option.markexpr else "new")
