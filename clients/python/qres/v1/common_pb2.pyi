from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_KIND_UNSPECIFIED: _ClassVar[WatchKind]
    WATCH_KIND_SNAPSHOT: _ClassVar[WatchKind]
    WATCH_KIND_SNAPSHOT_END: _ClassVar[WatchKind]
    WATCH_KIND_CHANGE: _ClassVar[WatchKind]
    WATCH_KIND_TOO_OLD: _ClassVar[WatchKind]

class MetricGoal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_GOAL_UNSPECIFIED: _ClassVar[MetricGoal]
    METRIC_GOAL_LOWEST: _ClassVar[MetricGoal]
    METRIC_GOAL_HIGHEST: _ClassVar[MetricGoal]
WATCH_KIND_UNSPECIFIED: WatchKind
WATCH_KIND_SNAPSHOT: WatchKind
WATCH_KIND_SNAPSHOT_END: WatchKind
WATCH_KIND_CHANGE: WatchKind
WATCH_KIND_TOO_OLD: WatchKind
METRIC_GOAL_UNSPECIFIED: MetricGoal
METRIC_GOAL_LOWEST: MetricGoal
METRIC_GOAL_HIGHEST: MetricGoal

class Rule(_message.Message):
    __slots__ = ("id", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    id: str
    params: _containers.ScalarMap[str, float]
    def __init__(self, id: _Optional[str] = ..., params: _Optional[_Mapping[str, float]] = ...) -> None: ...

class PrivacySpent(_message.Message):
    __slots__ = ("releases", "epsilon", "delta")
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    releases: int
    epsilon: float
    delta: float
    def __init__(self, releases: _Optional[int] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("id", "round", "parent", "weights_digest", "total_bytes", "confirmed", "optimiser_digest")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    OPTIMISER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    id: str
    round: int
    parent: str
    weights_digest: str
    total_bytes: int
    confirmed: bool
    optimiser_digest: str
    def __init__(self, id: _Optional[str] = ..., round: _Optional[int] = ..., parent: _Optional[str] = ..., weights_digest: _Optional[str] = ..., total_bytes: _Optional[int] = ..., confirmed: bool = ..., optimiser_digest: _Optional[str] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "goal")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    goal: MetricGoal
    def __init__(self, name: _Optional[str] = ..., goal: _Optional[_Union[MetricGoal, str]] = ...) -> None: ...
