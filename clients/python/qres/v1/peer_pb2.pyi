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

class PeerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_STATE_UNSPECIFIED: _ClassVar[PeerState]
    PEER_STATE_CONNECTING: _ClassVar[PeerState]
    PEER_STATE_CONNECTED: _ClassVar[PeerState]
    PEER_STATE_DISCONNECTED: _ClassVar[PeerState]
    PEER_STATE_REFUSED: _ClassVar[PeerState]
    PEER_STATE_BANNED: _ClassVar[PeerState]
PEER_STATE_UNSPECIFIED: PeerState
PEER_STATE_CONNECTING: PeerState
PEER_STATE_CONNECTED: PeerState
PEER_STATE_DISCONNECTED: PeerState
PEER_STATE_REFUSED: PeerState
PEER_STATE_BANNED: PeerState

class PeerHead(_message.Message):
    __slots__ = ("spec_id", "checkpoint", "round")
    SPEC_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    spec_id: str
    checkpoint: str
    round: int
    def __init__(self, spec_id: _Optional[str] = ..., checkpoint: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("peer_id", "node_id", "addresses", "agent", "state", "reason", "banned_until", "connected_at", "rtt_ms", "score", "heads", "bootstrap")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BANNED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    RTT_MS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    node_id: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    agent: str
    state: PeerState
    reason: str
    banned_until: _timestamp_pb2.Timestamp
    connected_at: _timestamp_pb2.Timestamp
    rtt_ms: float
    score: float
    heads: _containers.RepeatedCompositeFieldContainer[PeerHead]
    bootstrap: bool
    def __init__(self, peer_id: _Optional[str] = ..., node_id: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., agent: _Optional[str] = ..., state: _Optional[_Union[PeerState, str]] = ..., reason: _Optional[str] = ..., banned_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., connected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rtt_ms: _Optional[float] = ..., score: _Optional[float] = ..., heads: _Optional[_Iterable[_Union[PeerHead, _Mapping]]] = ..., bootstrap: bool = ...) -> None: ...

class ListPeersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPeersResponse(_message.Message):
    __slots__ = ("peers", "next_page_token")
    PEERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    next_page_token: str
    def __init__(self, peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPeerRequest(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    def __init__(self, peer: _Optional[str] = ...) -> None: ...

class GetPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class WatchPeersRequest(_message.Message):
    __slots__ = ("from_revision",)
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    from_revision: int
    def __init__(self, from_revision: _Optional[int] = ...) -> None: ...

class WatchPeersResponse(_message.Message):
    __slots__ = ("revision", "kind", "peer")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kind: _common_pb2.WatchKind
    peer: Peer
    def __init__(self, revision: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.WatchKind, str]] = ..., peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class DialPeerRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class DialPeerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BanPeerRequest(_message.Message):
    __slots__ = ("peer", "reason", "duration_ms")
    PEER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    peer: str
    reason: str
    duration_ms: int
    def __init__(self, peer: _Optional[str] = ..., reason: _Optional[str] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class BanPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class UnbanPeerRequest(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    def __init__(self, peer: _Optional[str] = ...) -> None: ...

class UnbanPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...
