import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qres.v1 import access_pb2 as _access_pb2
from qres.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmissionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUBMISSION_STATE_UNSPECIFIED: _ClassVar[SubmissionState]
    SUBMISSION_STATE_PENDING: _ClassVar[SubmissionState]
    SUBMISSION_STATE_MERGED: _ClassVar[SubmissionState]
    SUBMISSION_STATE_SEALED: _ClassVar[SubmissionState]
    SUBMISSION_STATE_CARRIED: _ClassVar[SubmissionState]
    SUBMISSION_STATE_REJECTED: _ClassVar[SubmissionState]
    SUBMISSION_STATE_SUPERSEDED: _ClassVar[SubmissionState]
SUBMISSION_STATE_UNSPECIFIED: SubmissionState
SUBMISSION_STATE_PENDING: SubmissionState
SUBMISSION_STATE_MERGED: SubmissionState
SUBMISSION_STATE_SEALED: SubmissionState
SUBMISSION_STATE_CARRIED: SubmissionState
SUBMISSION_STATE_REJECTED: SubmissionState
SUBMISSION_STATE_SUPERSEDED: SubmissionState

class Submission(_message.Message):
    __slots__ = ("id", "model", "spec_id", "trainer", "base", "samples", "metrics", "total_bytes", "acknowledged_at", "state", "contribution", "checkpoint", "weight_ppm", "confirmed", "carried_to_round", "reason", "final")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPEC_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PPM_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    CARRIED_TO_ROUND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    spec_id: str
    trainer: str
    base: str
    samples: int
    metrics: _containers.ScalarMap[str, float]
    total_bytes: int
    acknowledged_at: _timestamp_pb2.Timestamp
    state: SubmissionState
    contribution: str
    checkpoint: str
    weight_ppm: int
    confirmed: bool
    carried_to_round: int
    reason: str
    final: bool
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., spec_id: _Optional[str] = ..., trainer: _Optional[str] = ..., base: _Optional[str] = ..., samples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., total_bytes: _Optional[int] = ..., acknowledged_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[SubmissionState, str]] = ..., contribution: _Optional[str] = ..., checkpoint: _Optional[str] = ..., weight_ppm: _Optional[int] = ..., confirmed: bool = ..., carried_to_round: _Optional[int] = ..., reason: _Optional[str] = ..., final: bool = ...) -> None: ...

class GetSubmissionRequest(_message.Message):
    __slots__ = ("id", "wait")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    id: str
    wait: bool
    def __init__(self, id: _Optional[str] = ..., wait: bool = ...) -> None: ...

class GetSubmissionResponse(_message.Message):
    __slots__ = ("submission",)
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    submission: Submission
    def __init__(self, submission: _Optional[_Union[Submission, _Mapping]] = ...) -> None: ...

class ListSubmissionsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubmissionsResponse(_message.Message):
    __slots__ = ("submissions", "next_page_token")
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    submissions: _containers.RepeatedCompositeFieldContainer[Submission]
    next_page_token: str
    def __init__(self, submissions: _Optional[_Iterable[_Union[Submission, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchSubmissionsRequest(_message.Message):
    __slots__ = ("model", "from_revision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    model: str
    from_revision: int
    def __init__(self, model: _Optional[str] = ..., from_revision: _Optional[int] = ...) -> None: ...

class WatchSubmissionsResponse(_message.Message):
    __slots__ = ("revision", "kind", "submission")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: _common_pb2.WatchKind
    submission: Submission
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.WatchKind, str]] = ..., submission: _Optional[_Union[Submission, _Mapping]] = ...) -> None: ...
