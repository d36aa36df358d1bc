import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qres.v1 import access_pb2 as _access_pb2
from qres.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(_message.Message):
    __slots__ = ("model", "spec_id", "publisher", "name", "sequence", "timestamp", "fidelity", "data")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPEC_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    FIDELITY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    model: str
    spec_id: str
    publisher: str
    name: str
    sequence: int
    timestamp: _timestamp_pb2.Timestamp
    fidelity: float
    data: bytes
    def __init__(self, model: _Optional[str] = ..., spec_id: _Optional[str] = ..., publisher: _Optional[str] = ..., name: _Optional[str] = ..., sequence: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fidelity: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishStateRequest(_message.Message):
    __slots__ = ("model", "name", "timestamp", "codec", "data")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    model: str
    name: str
    timestamp: _timestamp_pb2.Timestamp
    codec: _common_pb2.Rule
    data: bytes
    def __init__(self, model: _Optional[str] = ..., name: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., codec: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishStateResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: State
    def __init__(self, state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class SubscribeStateRequest(_message.Message):
    __slots__ = ("model", "names", "from_revision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    model: str
    names: _containers.RepeatedScalarFieldContainer[str]
    from_revision: int
    def __init__(self, model: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., from_revision: _Optional[int] = ...) -> None: ...

class SubscribeStateResponse(_message.Message):
    __slots__ = ("revision", "kind", "state")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: _common_pb2.WatchKind
    state: State
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.WatchKind, str]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...
