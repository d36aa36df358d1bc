from qres.v1 import access_pb2 as _access_pb2
from qres.v1 import common_pb2 as _common_pb2
from qres.v1 import submission_pb2 as _submission_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmissionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUBMISSION_KIND_UNSPECIFIED: _ClassVar[SubmissionKind]
    SUBMISSION_KIND_WEIGHTS: _ClassVar[SubmissionKind]
    SUBMISSION_KIND_DELTA: _ClassVar[SubmissionKind]
SUBMISSION_KIND_UNSPECIFIED: SubmissionKind
SUBMISSION_KIND_WEIGHTS: SubmissionKind
SUBMISSION_KIND_DELTA: SubmissionKind

class SubmitWeightsRequest(_message.Message):
    __slots__ = ("model", "base", "trainer", "samples", "kind", "metrics", "idempotency_key", "offset", "total_bytes", "digest", "data", "evaluation_samples", "steps")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    model: str
    base: str
    trainer: str
    samples: int
    kind: SubmissionKind
    metrics: _containers.ScalarMap[str, float]
    idempotency_key: str
    offset: int
    total_bytes: int
    digest: str
    data: bytes
    evaluation_samples: int
    steps: float
    def __init__(self, model: _Optional[str] = ..., base: _Optional[str] = ..., trainer: _Optional[str] = ..., samples: _Optional[int] = ..., kind: _Optional[_Union[SubmissionKind, str]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., idempotency_key: _Optional[str] = ..., offset: _Optional[int] = ..., total_bytes: _Optional[int] = ..., digest: _Optional[str] = ..., data: _Optional[bytes] = ..., evaluation_samples: _Optional[int] = ..., steps: _Optional[float] = ...) -> None: ...

class SubmitWeightsResponse(_message.Message):
    __slots__ = ("submission",)
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    submission: _submission_pb2.Submission
    def __init__(self, submission: _Optional[_Union[_submission_pb2.Submission, _Mapping]] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("idempotency_key",)
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    def __init__(self, idempotency_key: _Optional[str] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("kept_bytes",)
    KEPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    kept_bytes: int
    def __init__(self, kept_bytes: _Optional[int] = ...) -> None: ...

class FetchWeightsRequest(_message.Message):
    __slots__ = ("model", "after", "checkpoint", "confirmed_only", "offset", "every_head", "trainer")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_ONLY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EVERY_HEAD_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    model: str
    after: str
    checkpoint: str
    confirmed_only: bool
    offset: int
    every_head: bool
    trainer: str
    def __init__(self, model: _Optional[str] = ..., after: _Optional[str] = ..., checkpoint: _Optional[str] = ..., confirmed_only: bool = ..., offset: _Optional[int] = ..., every_head: bool = ..., trainer: _Optional[str] = ...) -> None: ...

class FetchWeightsResponse(_message.Message):
    __slots__ = ("checkpoint", "spec_id", "trainer_config", "total_bytes", "offset", "data", "complete", "personal_digest")
    class TrainerConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SPEC_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    checkpoint: _common_pb2.Checkpoint
    spec_id: str
    trainer_config: _containers.ScalarMap[str, float]
    total_bytes: int
    offset: int
    data: bytes
    complete: bool
    personal_digest: str
    def __init__(self, checkpoint: _Optional[_Union[_common_pb2.Checkpoint, _Mapping]] = ..., spec_id: _Optional[str] = ..., trainer_config: _Optional[_Mapping[str, float]] = ..., total_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., complete: bool = ..., personal_digest: _Optional[str] = ...) -> None: ...
