"""Removing secrets from desired LRPs: only what is known to hold none is kept.

Environments, actions and credentials are only in `detail`. Routes can hold keys too (`diego-ssh` has the one that gives
access to a container), so only those of known routers keep their value.
"""

from typing import Final

from msgspec.structs import replace

from lrpmirror.frozen import frozen
from lrpmirror.model import DesiredLRP

HARMLESS_ROUTERS: Final = ("cf-router", "tcp-router", "internal-router")


def without_secrets(lrp: DesiredLRP) -> DesiredLRP:
    """Return a desired LRP without its `detail`, and with `null` as the value of routes that may hold keys. O(routes).

    The names of all its routers stay.
    """
    if all(router in HARMLESS_ROUTERS for router in lrp.routes):
        return lrp.without_detail()
    routes = {router: route if router in HARMLESS_ROUTERS else b"null" for router, route in lrp.routes.items()}
    return replace(lrp.without_detail(), routes=frozen(routes))


def is_redacted_of(part: DesiredLRP, whole: DesiredLRP) -> bool:
    """Return whether one desired LRP is what `without_secrets` leaves of another, in the same version. O(routes)."""
    return part == without_secrets(whole)
