"""The values that a cell hands to the BBS with its writes, and how it names an instance."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from msgspec import Struct

from lrpmirror.model import ActualLRP, MetricTagValue, PortMapping, PreferredAddress


class InstanceKey(Struct, frozen=True):
    """Which instance, and on which cell; both empty where a row has none."""

    instance_guid: str = ""
    cell_id: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "InstanceKey":
        """Return the key that the row holds."""
        return cls(row.instance_guid, row.cell_id)

    def __bool__(self) -> bool:
        return bool(self.instance_guid or self.cell_id)


class NetInfo(Struct, frozen=True):
    """Where an instance can be reached: on its cell, and inside its container."""

    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: str = ""
    preferred_address: PreferredAddress = PreferredAddress.UNKNOWN
    instance_ipv6_address: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "NetInfo":
        """Return where the row says that its instance is."""
        return cls(row.address, row.ports, row.instance_address, row.preferred_address, row.instance_ipv6_address)


NO_INSTANCE = InstanceKey()
"""The key of a row that no cell holds."""

NO_NET = NetInfo()
"""The addresses of a row that does not run."""


class InstanceReport(TypedDict, total=False):
    """What a cell reports of an instance that runs, beside where it can be reached.

    `domain` is the row's own, or its desired LRP's, if None or not given. Without `routable` it is routable.
    """

    domain: str | None
    internal_routes: Sequence[str]
    metric_tags: Mapping[str, str]
    routable: bool
    availability_zone: str


class DesiredUpdate(TypedDict, total=False):
    """The fields of a desired LRP that can be written later; what is None or not given stays."""

    instances: int | None
    routes: Mapping[str, bytes] | None
    annotation: str | None
    metric_tags: Mapping[str, MetricTagValue] | None
    image_username: str | None
    image_password: str | None
