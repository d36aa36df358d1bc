from qres.v1 import access_pb2 as _access_pb2
from qres.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelStanding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STANDING_UNSPECIFIED: _ClassVar[ModelStanding]
    MODEL_STANDING_AVAILABLE: _ClassVar[ModelStanding]
    MODEL_STANDING_SYNCING: _ClassVar[ModelStanding]
    MODEL_STANDING_JOINED: _ClassVar[ModelStanding]
    MODEL_STANDING_LEFT: _ClassVar[ModelStanding]
    MODEL_STANDING_SUPERSEDED: _ClassVar[ModelStanding]
    MODEL_STANDING_COMPLETE: _ClassVar[ModelStanding]

class TensorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TENSOR_KIND_UNSPECIFIED: _ClassVar[TensorKind]
    TENSOR_KIND_SHARED: _ClassVar[TensorKind]
    TENSOR_KIND_FROZEN: _ClassVar[TensorKind]
    TENSOR_KIND_PERSONAL: _ClassVar[TensorKind]

class ScheduleCurve(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEDULE_CURVE_UNSPECIFIED: _ClassVar[ScheduleCurve]
    SCHEDULE_CURVE_STEP: _ClassVar[ScheduleCurve]
    SCHEDULE_CURVE_LINEAR: _ClassVar[ScheduleCurve]
    SCHEDULE_CURVE_COSINE: _ClassVar[ScheduleCurve]
    SCHEDULE_CURVE_EXPONENTIAL: _ClassVar[ScheduleCurve]

class ConditionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_KIND_UNSPECIFIED: _ClassVar[ConditionKind]
    CONDITION_KIND_CONVICTED: _ClassVar[ConditionKind]
    CONDITION_KIND_COMPARING: _ClassVar[ConditionKind]
    CONDITION_KIND_UNSETTLED: _ClassVar[ConditionKind]
    CONDITION_KIND_IDENTITY_IN_USE: _ClassVar[ConditionKind]
    CONDITION_KIND_MEMBERS_CHANGE: _ClassVar[ConditionKind]
MODEL_STANDING_UNSPECIFIED: ModelStanding
MODEL_STANDING_AVAILABLE: ModelStanding
MODEL_STANDING_SYNCING: ModelStanding
MODEL_STANDING_JOINED: ModelStanding
MODEL_STANDING_LEFT: ModelStanding
MODEL_STANDING_SUPERSEDED: ModelStanding
MODEL_STANDING_COMPLETE: ModelStanding
TENSOR_KIND_UNSPECIFIED: TensorKind
TENSOR_KIND_SHARED: TensorKind
TENSOR_KIND_FROZEN: TensorKind
TENSOR_KIND_PERSONAL: TensorKind
SCHEDULE_CURVE_UNSPECIFIED: ScheduleCurve
SCHEDULE_CURVE_STEP: ScheduleCurve
SCHEDULE_CURVE_LINEAR: ScheduleCurve
SCHEDULE_CURVE_COSINE: ScheduleCurve
SCHEDULE_CURVE_EXPONENTIAL: ScheduleCurve
CONDITION_KIND_UNSPECIFIED: ConditionKind
CONDITION_KIND_CONVICTED: ConditionKind
CONDITION_KIND_COMPARING: ConditionKind
CONDITION_KIND_UNSETTLED: ConditionKind
CONDITION_KIND_IDENTITY_IN_USE: ConditionKind
CONDITION_KIND_MEMBERS_CHANGE: ConditionKind

class MetricTarget(_message.Message):
    __slots__ = ("metric", "value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "dtype", "shape", "kind")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    kind: TensorKind
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., kind: _Optional[_Union[TensorKind, str]] = ...) -> None: ...

class RoundPolicy(_message.Message):
    __slots__ = ("min_contributions", "target", "deadline_ms", "deadline_max_ms", "max_staleness")
    MIN_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    min_contributions: int
    target: int
    deadline_ms: int
    deadline_max_ms: int
    max_staleness: int
    def __init__(self, min_contributions: _Optional[int] = ..., target: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., deadline_max_ms: _Optional[int] = ..., max_staleness: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "id", "standing", "member", "head", "trainer_config", "warnings", "strategy", "aggregation", "codec", "privacy", "rounds", "open", "members", "quorum", "tensor_count", "tensors", "checkpoint0_digest", "creator", "succeeds", "conditions", "successor", "changes", "metrics", "max_rounds", "until", "schedules", "earlier_rounds", "privacy_spent", "fixed_digest")
    class TrainerConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class SchedulesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Schedule
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TRAINER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    TENSOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT0_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    EARLIER_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_SPENT_FIELD_NUMBER: _ClassVar[int]
    FIXED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: str
    standing: ModelStanding
    member: bool
    head: _common_pb2.Checkpoint
    trainer_config: _containers.ScalarMap[str, float]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    strategy: _common_pb2.Rule
    aggregation: _containers.RepeatedCompositeFieldContainer[_common_pb2.Rule]
    codec: _common_pb2.Rule
    privacy: _common_pb2.Rule
    rounds: RoundPolicy
    open: bool
    members: _containers.RepeatedScalarFieldContainer[str]
    quorum: int
    tensor_count: int
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    checkpoint0_digest: str
    creator: str
    succeeds: str
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    successor: str
    changes: _containers.RepeatedCompositeFieldContainer[MemberChange]
    metrics: _containers.RepeatedCompositeFieldContainer[_common_pb2.Metric]
    max_rounds: int
    until: MetricTarget
    schedules: _containers.MessageMap[str, Schedule]
    earlier_rounds: int
    privacy_spent: _common_pb2.PrivacySpent
    fixed_digest: str
    def __init__(self, name: _Optional[str] = ..., id: _Optional[str] = ..., standing: _Optional[_Union[ModelStanding, str]] = ..., member: bool = ..., head: _Optional[_Union[_common_pb2.Checkpoint, _Mapping]] = ..., trainer_config: _Optional[_Mapping[str, float]] = ..., warnings: _Optional[_Iterable[str]] = ..., strategy: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., aggregation: _Optional[_Iterable[_Union[_common_pb2.Rule, _Mapping]]] = ..., codec: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., privacy: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., rounds: _Optional[_Union[RoundPolicy, _Mapping]] = ..., open: bool = ..., members: _Optional[_Iterable[str]] = ..., quorum: _Optional[int] = ..., tensor_count: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., checkpoint0_digest: _Optional[str] = ..., creator: _Optional[str] = ..., succeeds: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., successor: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[MemberChange, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[_common_pb2.Metric, _Mapping]]] = ..., max_rounds: _Optional[int] = ..., until: _Optional[_Union[MetricTarget, _Mapping]] = ..., schedules: _Optional[_Mapping[str, Schedule]] = ..., earlier_rounds: _Optional[int] = ..., privacy_spent: _Optional[_Union[_common_pb2.PrivacySpent, _Mapping]] = ..., fixed_digest: _Optional[str] = ...) -> None: ...

class Schedule(_message.Message):
    __slots__ = ("curve", "points")
    CURVE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    curve: ScheduleCurve
    points: _containers.RepeatedCompositeFieldContainer[SchedulePoint]
    def __init__(self, curve: _Optional[_Union[ScheduleCurve, str]] = ..., points: _Optional[_Iterable[_Union[SchedulePoint, _Mapping]]] = ...) -> None: ...

class SchedulePoint(_message.Message):
    __slots__ = ("round", "value")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    round: int
    value: float
    def __init__(self, round: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...

class MemberChange(_message.Message):
    __slots__ = ("proposer", "add", "remove", "agreed")
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    AGREED_FIELD_NUMBER: _ClassVar[int]
    proposer: str
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    agreed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, proposer: _Optional[str] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ..., agreed: _Optional[_Iterable[str]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("kind", "text", "proof")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    kind: ConditionKind
    text: str
    proof: str
    def __init__(self, kind: _Optional[_Union[ConditionKind, str]] = ..., text: _Optional[str] = ..., proof: _Optional[str] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("name", "strategy", "aggregation", "codec", "min_contributions", "target", "deadline_ms", "deadline_max_ms", "max_staleness", "members", "open", "succeeds", "idempotency_key", "offset", "total_bytes", "digest", "data", "tensors", "seed", "metrics", "max_rounds", "until", "privacy", "schedules", "personal", "frozen")
    class SchedulesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Schedule
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    strategy: _common_pb2.Rule
    aggregation: _containers.RepeatedCompositeFieldContainer[_common_pb2.Rule]
    codec: _common_pb2.Rule
    min_contributions: int
    target: int
    deadline_ms: int
    deadline_max_ms: int
    max_staleness: int
    members: _containers.RepeatedScalarFieldContainer[str]
    open: bool
    succeeds: str
    idempotency_key: str
    offset: int
    total_bytes: int
    digest: str
    data: bytes
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    seed: int
    metrics: _containers.RepeatedCompositeFieldContainer[_common_pb2.Metric]
    max_rounds: int
    until: MetricTarget
    privacy: _common_pb2.Rule
    schedules: _containers.MessageMap[str, Schedule]
    personal: _containers.RepeatedScalarFieldContainer[str]
    frozen: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., strategy: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., aggregation: _Optional[_Iterable[_Union[_common_pb2.Rule, _Mapping]]] = ..., codec: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., min_contributions: _Optional[int] = ..., target: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., deadline_max_ms: _Optional[int] = ..., max_staleness: _Optional[int] = ..., members: _Optional[_Iterable[str]] = ..., open: bool = ..., succeeds: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., offset: _Optional[int] = ..., total_bytes: _Optional[int] = ..., digest: _Optional[str] = ..., data: _Optional[bytes] = ..., tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., seed: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[_common_pb2.Metric, _Mapping]]] = ..., max_rounds: _Optional[int] = ..., until: _Optional[_Union[MetricTarget, _Mapping]] = ..., privacy: _Optional[_Union[_common_pb2.Rule, _Mapping]] = ..., schedules: _Optional[_Mapping[str, Schedule]] = ..., personal: _Optional[_Iterable[str]] = ..., frozen: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class JoinModelRequest(_message.Message):
    __slots__ = ("model", "creator")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    model: str
    creator: str
    def __init__(self, model: _Optional[str] = ..., creator: _Optional[str] = ...) -> None: ...

class JoinModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class LeaveModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class LeaveModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ListTensorsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTensorsResponse(_message.Message):
    __slots__ = ("tensors", "next_page_token")
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    next_page_token: str
    def __init__(self, tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ChangeMembersRequest(_message.Message):
    __slots__ = ("model", "add", "remove")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    model: str
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class ChangeMembersResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class AcceptMembersRequest(_message.Message):
    __slots__ = ("model", "proposer")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    model: str
    proposer: str
    def __init__(self, model: _Optional[str] = ..., proposer: _Optional[str] = ...) -> None: ...

class AcceptMembersResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class WithdrawMembersRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class WithdrawMembersResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchModelsRequest(_message.Message):
    __slots__ = ("from_revision",)
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    from_revision: int
    def __init__(self, from_revision: _Optional[int] = ...) -> None: ...

class WatchModelsResponse(_message.Message):
    __slots__ = ("revision", "kind", "model")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: _common_pb2.WatchKind
    model: Model
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.WatchKind, str]] = ..., model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...
