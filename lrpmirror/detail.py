"""The parts of a desired LRP that schedulers and routers do not use: environment, actions, checks, credentials.

One frozen Struct for each message, with the BBS's own field names (`from_` stands for `from`), tuples for repeated
fields, read-only mappings for maps, None for a message or optional number that is not set. Much of it is secret, so
the printed form of a value is only the name of its type.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct, field

from lrpmirror.enums import OpenIntEnum

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class UpdateStrategy(OpenIntEnum):
    """What happens to the old instances when a process is replaced."""

    ROLLING = 0
    RECREATE = 1


class LayerType(OpenIntEnum):
    """Whether an image layer's files are one copy for all containers of a cell."""

    INVALID = 0
    SHARED = 1
    EXCLUSIVE = 2


class MediaType(OpenIntEnum):
    """The archive format of an image layer."""

    INVALID = 0
    TGZ = 1
    TAR = 2
    ZIP = 3


class DigestAlgorithm(OpenIntEnum):
    """What an image layer's digest was made with; INVALID where there is none."""

    INVALID = 0
    SHA256 = 1
    SHA512 = 2


class _Part(Struct, frozen=True, kw_only=True, gc=False):
    """A value whose printed form is the name of its type only."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class EnvironmentVariable(_Part, frozen=True, gc=False):
    """A variable of the environment; the values are where most secrets are."""

    name: str = ""
    value: str = ""


class File(_Part, frozen=True, gc=False):
    """A file that is mounted into the container, with its content."""

    path: str = ""
    content: str = ""


class ResourceLimits(_Part, frozen=True, gc=False):
    """The limits of a process: open files and (no longer used) processes; None: the cell's own limit."""

    nofile: int | None = None
    nproc: int | None = None


class DownloadAction(_Part, frozen=True, gc=False):
    """Fetch an archive and unpack it into the container."""

    artifact: str = ""
    from_: str = field(default="", name="from")
    to: str = ""
    cache_key: str = ""
    log_source: str = ""
    user: str = ""
    checksum_algorithm: str = ""
    checksum_value: str = ""


class UploadAction(_Part, frozen=True, gc=False):
    """Send a file of the container to a URL."""

    artifact: str = ""
    from_: str = field(default="", name="from")
    to: str = ""
    log_source: str = ""
    user: str = ""


class RunAction(_Part, frozen=True, gc=False):
    """Run a program in the container."""

    path: str = ""
    args: tuple[str, ...] = ()
    dir: str = ""
    env: tuple[EnvironmentVariable, ...] = ()
    resource_limits: ResourceLimits | None = None
    user: str = ""
    log_source: str = ""
    suppress_log_output: bool = False
    volume_mounted_files: tuple[File, ...] = ()


class TimeoutAction(_Part, frozen=True, gc=False):
    """Do something within a time: `timeout_ms` milliseconds, or on old records nanoseconds in the deprecated field."""

    action: "Action | None" = None
    deprecated_timeout_ns: int = 0
    log_source: str = ""
    timeout_ms: int = 0


class EmitProgressAction(_Part, frozen=True, gc=False):
    """Do something, and write to the log when it starts and ends."""

    action: "Action | None" = None
    start_message: str = ""
    success_message: str = ""
    failure_message_prefix: str = ""
    log_source: str = ""


class TryAction(_Part, frozen=True, gc=False):
    """Do something whose failure does not count."""

    action: "Action | None" = None
    log_source: str = ""


class ParallelAction(_Part, frozen=True, gc=False):
    """Do all of these at the same time."""

    actions: "tuple[Action, ...]" = ()
    log_source: str = ""


class SerialAction(_Part, frozen=True, gc=False):
    """Do these one after another."""

    actions: "tuple[Action, ...]" = ()
    log_source: str = ""


class CodependentAction(_Part, frozen=True, gc=False):
    """Do all of these at the same time, until one of them ends."""

    actions: "tuple[Action, ...]" = ()
    log_source: str = ""


class Action(_Part, frozen=True, gc=False):
    """One of these, whichever is set."""

    download_action: DownloadAction | None = None
    upload_action: UploadAction | None = None
    run_action: RunAction | None = None
    timeout_action: TimeoutAction | None = None
    emit_progress_action: EmitProgressAction | None = None
    try_action: TryAction | None = None
    parallel_action: ParallelAction | None = None
    serial_action: SerialAction | None = None
    codependent_action: CodependentAction | None = None


class PortRange(_Part, frozen=True, gc=False):
    """The ports from `start` to `end`, both included."""

    start: int = 0
    end: int = 0


class ICMPInfo(_Part, frozen=True, gc=False):
    """A type and code of ICMP; -1 stands for any."""

    type: int = 0
    code: int = 0


class SecurityGroupRule(_Part, frozen=True, gc=False):
    """Where the container may connect to."""

    protocol: str = ""
    destinations: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    port_range: PortRange | None = None
    icmp_info: ICMPInfo | None = None
    log: bool = False
    annotations: tuple[str, ...] = ()


class CachedDependency(_Part, frozen=True, gc=False):
    """An archive that a cell fetches once and mounts into each container that names it."""

    name: str = ""
    from_: str = field(default="", name="from")
    to: str = ""
    cache_key: str = ""
    log_source: str = ""
    checksum_algorithm: str = ""
    checksum_value: str = ""


class SharedDevice(_Part, frozen=True, gc=False):
    """A volume that several containers use; its configuration can hold credentials."""

    volume_id: str = ""
    mount_config: str = ""


class DedicatedDevice(_Part, frozen=True, gc=False):
    """A device for one container."""

    mounter_id: str = ""
    mount_config: str = ""
    device_config: str = ""


class VolumeMount(_Part, frozen=True, gc=False):
    """A volume, the driver that mounts it and where."""

    driver: str = ""
    container_dir: str = ""
    mode: str = ""
    shared: SharedDevice | None = None
    dedicated: DedicatedDevice | None = None


class Network(_Part, frozen=True, gc=False):
    """The properties of the container that the container network gets."""

    properties: Mapping[str, str] = _NONE


class CertificateProperties(_Part, frozen=True, gc=False):
    """What stands in the certificate of each instance."""

    organizational_unit: tuple[str, ...] = ()


class TCPCheck(_Part, frozen=True, gc=False):
    """A check that a port accepts connections; times in milliseconds, 0: the cell's own."""

    port: int = 0
    connect_timeout_ms: int = 0
    interval_ms: int = 0


class HTTPCheck(_Part, frozen=True, gc=False):
    """A check that a path answers 200; times in milliseconds, 0: the cell's own."""

    port: int = 0
    request_timeout_ms: int = 0
    path: str = ""
    interval_ms: int = 0


class Check(_Part, frozen=True, gc=False):
    """One of these, whichever is set."""

    tcp_check: TCPCheck | None = None
    http_check: HTTPCheck | None = None


class CheckDefinition(_Part, frozen=True, gc=False):
    """How a cell finds out whether an instance lives (`checks`) and takes requests (`readiness_checks`)."""

    checks: tuple[Check, ...] = ()
    log_source: str = ""
    readiness_checks: tuple[Check, ...] = ()


class ImageLayer(_Part, frozen=True, gc=False):
    """An archive that becomes part of the container's file system."""

    name: str = ""
    url: str = ""
    destination_path: str = ""
    layer_type: LayerType = LayerType.INVALID
    media_type: MediaType = MediaType.INVALID
    digest_algorithm: DigestAlgorithm = DigestAlgorithm.INVALID
    digest_value: str = ""


class Sidecar(_Part, frozen=True, gc=False):
    """A further process in each container, and what it may use of the container's memory and disk."""

    action: Action | None = None
    disk_mb: int = 0
    memory_mb: int = 0


class LogRateLimit(_Part, frozen=True, gc=False):
    """How many bytes of log an instance may write in a second; -1: any number."""

    bytes_per_second: int = 0


class DesiredLRPDetail(_Part, frozen=True, gc=False):
    """Everything of a desired LRP's record that `DesiredLRP` does not have itself."""

    environment_variables: tuple[EnvironmentVariable, ...] = ()
    setup: Action | None = None
    action: Action | None = None
    deprecated_start_timeout_s: int = 0
    monitor: Action | None = None
    cpu_weight: int = 0
    privileged: bool = False
    ports: tuple[int, ...] = ()
    log_source: str = ""
    metrics_guid: str = ""
    egress_rules: tuple[SecurityGroupRule, ...] = ()
    cached_dependencies: tuple[CachedDependency, ...] = ()
    legacy_download_user: str = ""
    trusted_system_certificates_path: str = ""
    volume_mounts: tuple[VolumeMount, ...] = ()
    network: Network | None = None
    start_timeout_ms: int = 0
    certificate_properties: CertificateProperties | None = None
    image_username: str = ""
    image_password: str = ""
    check_definition: CheckDefinition | None = None
    image_layers: tuple[ImageLayer, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    log_rate_limit: LogRateLimit | None = None
    volume_mounted_files: tuple[File, ...] = ()
    update_strategy: UpdateStrategy = UpdateStrategy.ROLLING
