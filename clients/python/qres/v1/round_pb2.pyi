from qres.v1 import access_pb2 as _access_pb2
from qres.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoundState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_STATE_UNSPECIFIED: _ClassVar[RoundState]
    ROUND_STATE_OPEN: _ClassVar[RoundState]
    ROUND_STATE_SEALED: _ClassVar[RoundState]

class Rejection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTION_UNSPECIFIED: _ClassVar[Rejection]
    REJECTION_NO_SAMPLES: _ClassVar[Rejection]
    REJECTION_NOT_SELECTED: _ClassVar[Rejection]
    REJECTION_TRIMMED: _ClassVar[Rejection]
    REJECTION_AGAINST_ROOT: _ClassVar[Rejection]
    REJECTION_TOO_LONG: _ClassVar[Rejection]
ROUND_STATE_UNSPECIFIED: RoundState
ROUND_STATE_OPEN: RoundState
ROUND_STATE_SEALED: RoundState
REJECTION_UNSPECIFIED: Rejection
REJECTION_NO_SAMPLES: Rejection
REJECTION_NOT_SELECTED: Rejection
REJECTION_TRIMMED: Rejection
REJECTION_AGAINST_ROOT: Rejection
REJECTION_TOO_LONG: Rejection

class Contribution(_message.Message):
    __slots__ = ("id", "author", "samples", "fidelity", "total_bytes", "late", "verdict", "steps", "privacy_spent")
    ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FIDELITY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_SPENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    author: str
    samples: int
    fidelity: float
    total_bytes: int
    late: bool
    verdict: ContributionVerdict
    steps: float
    privacy_spent: _common_pb2.PrivacySpent
    def __init__(self, id: _Optional[str] = ..., author: _Optional[str] = ..., samples: _Optional[int] = ..., fidelity: _Optional[float] = ..., total_bytes: _Optional[int] = ..., late: bool = ..., verdict: _Optional[_Union[ContributionVerdict, _Mapping]] = ..., steps: _Optional[float] = ..., privacy_spent: _Optional[_Union[_common_pb2.PrivacySpent, _Mapping]] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("metric", "members", "samples", "mean", "min", "max", "middle")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MIDDLE_FIELD_NUMBER: _ClassVar[int]
    metric: _common_pb2.Metric
    members: int
    samples: int
    mean: float
    min: float
    max: float
    middle: float
    def __init__(self, metric: _Optional[_Union[_common_pb2.Metric, _Mapping]] = ..., members: _Optional[int] = ..., samples: _Optional[int] = ..., mean: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., middle: _Optional[float] = ...) -> None: ...

class ContributionVerdict(_message.Message):
    __slots__ = ("claimed", "weight", "clipped", "distance", "rejected")
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    claimed: float
    weight: float
    clipped: float
    distance: float
    rejected: Rejection
    def __init__(self, claimed: _Optional[float] = ..., weight: _Optional[float] = ..., clipped: _Optional[float] = ..., distance: _Optional[float] = ..., rejected: _Optional[_Union[Rejection, str]] = ...) -> None: ...

class LosingSeal(_message.Message):
    __slots__ = ("checkpoint", "sealer")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SEALER_FIELD_NUMBER: _ClassVar[int]
    checkpoint: str
    sealer: str
    def __init__(self, checkpoint: _Optional[str] = ..., sealer: _Optional[str] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("model", "spec_id", "round", "state", "parent", "checkpoint", "sealers", "contributions", "missing", "min_contributions", "deadline_in_ms", "losing_seals", "evaluation", "closing")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPEC_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SEALERS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_IN_MS_FIELD_NUMBER: _ClassVar[int]
    LOSING_SEALS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    model: str
    spec_id: str
    round: int
    state: RoundState
    parent: str
    checkpoint: _common_pb2.Checkpoint
    sealers: _containers.RepeatedScalarFieldContainer[str]
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    missing: _containers.RepeatedScalarFieldContainer[str]
    min_contributions: int
    deadline_in_ms: int
    losing_seals: _containers.RepeatedCompositeFieldContainer[LosingSeal]
    evaluation: _containers.RepeatedCompositeFieldContainer[Evaluation]
    closing: bool
    def __init__(self, model: _Optional[str] = ..., spec_id: _Optional[str] = ..., round: _Optional[int] = ..., state: _Optional[_Union[RoundState, str]] = ..., parent: _Optional[str] = ..., checkpoint: _Optional[_Union[_common_pb2.Checkpoint, _Mapping]] = ..., sealers: _Optional[_Iterable[str]] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ..., min_contributions: _Optional[int] = ..., deadline_in_ms: _Optional[int] = ..., losing_seals: _Optional[_Iterable[_Union[LosingSeal, _Mapping]]] = ..., evaluation: _Optional[_Iterable[_Union[Evaluation, _Mapping]]] = ..., closing: bool = ...) -> None: ...

class GetRoundRequest(_message.Message):
    __slots__ = ("model", "round")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    model: str
    round: int
    def __init__(self, model: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class GetRoundResponse(_message.Message):
    __slots__ = ("round",)
    ROUND_FIELD_NUMBER: _ClassVar[int]
    round: Round
    def __init__(self, round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...

class ListRoundsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRoundsResponse(_message.Message):
    __slots__ = ("rounds", "next_page_token")
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rounds: _containers.RepeatedCompositeFieldContainer[Round]
    next_page_token: str
    def __init__(self, rounds: _Optional[_Iterable[_Union[Round, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRoundsRequest(_message.Message):
    __slots__ = ("model", "from_revision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    model: str
    from_revision: int
    def __init__(self, model: _Optional[str] = ..., from_revision: _Optional[int] = ...) -> None: ...

class WatchRoundsResponse(_message.Message):
    __slots__ = ("revision", "kind", "round")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: _common_pb2.WatchKind
    round: Round
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.WatchKind, str]] = ..., round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...

class SealRoundRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class SealRoundResponse(_message.Message):
    __slots__ = ("round",)
    ROUND_FIELD_NUMBER: _ClassVar[int]
    round: Round
    def __init__(self, round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...
