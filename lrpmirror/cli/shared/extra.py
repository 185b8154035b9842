"""The extra `cli`, which only some commands need."""

import importlib.util

from lrpmirror.errors import ConfigurationError


def require(package: str) -> None:
    """Raise ConfigurationError, which says how to get it, where a package of the extra `cli` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"{package} is not installed: pip install 'lrpmirror[cli]'")
