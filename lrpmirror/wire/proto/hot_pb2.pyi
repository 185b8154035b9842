from lrpmirror.wire.proto import diego_pb2 as _diego_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DesiredLRP(_message.Message):
    __slots__ = ("process_guid", "domain", "root_fs", "instances", "disk_mb", "memory_mb", "routes", "log_guid", "annotation", "modification_tag", "volume_mounts", "placement_tags", "max_pids", "metric_tags", "update_strategy")
    class MetricTagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _diego_pb2.MetricTagValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_diego_pb2.MetricTagValue, _Mapping]] = ...) -> None: ...
    PROCESS_GUID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROOT_FS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    DISK_MB_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    LOG_GUID_FIELD_NUMBER: _ClassVar[int]
    ANNOTATION_FIELD_NUMBER: _ClassVar[int]
    MODIFICATION_TAG_FIELD_NUMBER: _ClassVar[int]
    VOLUME_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_TAGS_FIELD_NUMBER: _ClassVar[int]
    MAX_PIDS_FIELD_NUMBER: _ClassVar[int]
    METRIC_TAGS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_STRATEGY_FIELD_NUMBER: _ClassVar[int]
    process_guid: str
    domain: str
    root_fs: str
    instances: int
    disk_mb: int
    memory_mb: int
    routes: _diego_pb2.ProtoRoutes
    log_guid: str
    annotation: str
    modification_tag: _diego_pb2.ModificationTag
    volume_mounts: _containers.RepeatedCompositeFieldContainer[VolumeMount]
    placement_tags: _containers.RepeatedScalarFieldContainer[str]
    max_pids: int
    metric_tags: _containers.MessageMap[str, _diego_pb2.MetricTagValue]
    update_strategy: _diego_pb2.DesiredLRP.UpdateStrategy
    def __init__(self, process_guid: _Optional[str] = ..., domain: _Optional[str] = ..., root_fs: _Optional[str] = ..., instances: _Optional[int] = ..., disk_mb: _Optional[int] = ..., memory_mb: _Optional[int] = ..., routes: _Optional[_Union[_diego_pb2.ProtoRoutes, _Mapping]] = ..., log_guid: _Optional[str] = ..., annotation: _Optional[str] = ..., modification_tag: _Optional[_Union[_diego_pb2.ModificationTag, _Mapping]] = ..., volume_mounts: _Optional[_Iterable[_Union[VolumeMount, _Mapping]]] = ..., placement_tags: _Optional[_Iterable[str]] = ..., max_pids: _Optional[int] = ..., metric_tags: _Optional[_Mapping[str, _diego_pb2.MetricTagValue]] = ..., update_strategy: _Optional[_Union[_diego_pb2.DesiredLRP.UpdateStrategy, str]] = ...) -> None: ...

class VolumeMount(_message.Message):
    __slots__ = ("driver",)
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    driver: str
    def __init__(self, driver: _Optional[str] = ...) -> None: ...

class DesiredLRPCreatedEvent(_message.Message):
    __slots__ = ("desired_lrp", "trace_id")
    DESIRED_LRP_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    desired_lrp: DesiredLRP
    trace_id: str
    def __init__(self, desired_lrp: _Optional[_Union[DesiredLRP, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class DesiredLRPChangedEvent(_message.Message):
    __slots__ = ("before", "after", "trace_id")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    before: DesiredLRP
    after: DesiredLRP
    trace_id: str
    def __init__(self, before: _Optional[_Union[DesiredLRP, _Mapping]] = ..., after: _Optional[_Union[DesiredLRP, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class DesiredLRPRemovedEvent(_message.Message):
    __slots__ = ("desired_lrp", "trace_id")
    DESIRED_LRP_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    desired_lrp: DesiredLRP
    trace_id: str
    def __init__(self, desired_lrp: _Optional[_Union[DesiredLRP, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ActualLRP(_message.Message):
    __slots__ = ("actual_lrp_net_info", "crash_count", "crash_reason", "placement_error", "since", "routable", "availability_zone")
    ACTUAL_LRP_NET_INFO_FIELD_NUMBER: _ClassVar[int]
    CRASH_COUNT_FIELD_NUMBER: _ClassVar[int]
    CRASH_REASON_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_ERROR_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ROUTABLE_FIELD_NUMBER: _ClassVar[int]
    AVAILABILITY_ZONE_FIELD_NUMBER: _ClassVar[int]
    actual_lrp_net_info: _diego_pb2.ActualLRPNetInfo
    crash_count: int
    crash_reason: str
    placement_error: str
    since: int
    routable: bool
    availability_zone: str
    def __init__(self, actual_lrp_net_info: _Optional[_Union[_diego_pb2.ActualLRPNetInfo, _Mapping]] = ..., crash_count: _Optional[int] = ..., crash_reason: _Optional[str] = ..., placement_error: _Optional[str] = ..., since: _Optional[int] = ..., routable: _Optional[bool] = ..., availability_zone: _Optional[str] = ...) -> None: ...
