from qres.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_MODE_UNSPECIFIED: _ClassVar[NodeMode]
    NODE_MODE_NODE: _ClassVar[NodeMode]
    NODE_MODE_BOOTSTRAP: _ClassVar[NodeMode]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_OK: _ClassVar[Verdict]
    VERDICT_WARNING: _ClassVar[Verdict]
    VERDICT_FAILED: _ClassVar[Verdict]
    VERDICT_SKIPPED: _ClassVar[Verdict]
NODE_MODE_UNSPECIFIED: NodeMode
NODE_MODE_NODE: NodeMode
NODE_MODE_BOOTSTRAP: NodeMode
VERDICT_UNSPECIFIED: Verdict
VERDICT_OK: Verdict
VERDICT_WARNING: Verdict
VERDICT_FAILED: Verdict
VERDICT_SKIPPED: Verdict

class Node(_message.Message):
    __slots__ = ("peer_id", "node_id", "version", "protocol", "mode", "listen_addresses", "uptime_ms", "connected_peers", "draining", "revision", "blob_bytes", "disk", "descriptors")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_PEERS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    node_id: str
    version: str
    protocol: str
    mode: NodeMode
    listen_addresses: _containers.RepeatedScalarFieldContainer[str]
    uptime_ms: int
    connected_peers: int
    draining: bool
    revision: int
    blob_bytes: int
    disk: Disk
    descriptors: Descriptors
    def __init__(self, peer_id: _Optional[str] = ..., node_id: _Optional[str] = ..., version: _Optional[str] = ..., protocol: _Optional[str] = ..., mode: _Optional[_Union[NodeMode, str]] = ..., listen_addresses: _Optional[_Iterable[str]] = ..., uptime_ms: _Optional[int] = ..., connected_peers: _Optional[int] = ..., draining: bool = ..., revision: _Optional[int] = ..., blob_bytes: _Optional[int] = ..., disk: _Optional[_Union[Disk, _Mapping]] = ..., descriptors: _Optional[_Union[Descriptors, _Mapping]] = ...) -> None: ...

class Disk(_message.Message):
    __slots__ = ("used_bytes", "quota_bytes", "free_bytes", "upload_bytes", "upload_quota_bytes")
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    used_bytes: int
    quota_bytes: int
    free_bytes: int
    upload_bytes: int
    upload_quota_bytes: int
    def __init__(self, used_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., upload_bytes: _Optional[int] = ..., upload_quota_bytes: _Optional[int] = ...) -> None: ...

class Descriptors(_message.Message):
    __slots__ = ("used", "limit")
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    used: int
    limit: int
    def __init__(self, used: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "verdict", "text", "remedy")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    check: str
    verdict: Verdict
    text: str
    remedy: str
    def __init__(self, check: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., text: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class DiagnoseNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DiagnoseNodeResponse(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class GetNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetNodeResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: Node
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainNodeResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: Node
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...
