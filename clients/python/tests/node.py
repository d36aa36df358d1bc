"""A node that a test plays: the contract's own stubs, in this process."""

from concurrent import futures
from contextlib import contextmanager

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from qres import dump
from qres.v1 import (
    common_pb2,
    model_pb2,
    model_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    submission_pb2,
    weights_pb2,
    weights_pb2_grpc,
)

# More than two chunks.
LARGE = {"w": np.arange(600_000, dtype="f4"), "n": np.array(7, "i8")}
BROKEN = (grpc.StatusCode.UNAVAILABLE, None)
"""How a connection that broke looks: an answer that is not the node's own."""


def refusal(code, reason, field="", retry_after=None, message="base: too old, fetch the head"):
    """How the node itself refuses."""
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="qres", metadata={"field": field} if field else {})]
    if retry_after is not None:
        nanos = round(retry_after * 1e9)
        delay = duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.append(any_pb2.Any())
        status.details[-1].Pack(detail)
    return code, status


class Node(
    weights_pb2_grpc.WeightsServiceServicer, model_pb2_grpc.ModelServiceServicer, node_pb2_grpc.NodeServiceServicer
):
    """Answers as the test says and keeps what came."""

    def __init__(self):
        self.requests = []
        self.traceparents = []
        """The trace context of each call, `None` where there was none."""
        self.failures = {}
        """By method: what its next calls fail with, in order; `None` lets one pass."""
        self.cuts = []
        """Bytes after which the next streams break."""
        self.kept = {}
        """Bytes of uploads, by key."""
        self.names = []
        """The common names of the certificates that callers of GetNode showed; `None` without one."""
        self.heads = ["c1", "c2"]
        """The heads that fetches of a newer one get, in order."""

    def FetchWeights(self, request, context):
        self.requests.append(request)
        self.fail("FetchWeights", context)
        file, number = dump(LARGE), self.heads.index(request.after) + 1 if request.after in self.heads else 0
        checkpoint = common_pb2.Checkpoint(id=request.checkpoint or self.heads[number], round=number + 1, confirmed=True)
        yield weights_pb2.FetchWeightsResponse(
            checkpoint=checkpoint, trainer_config={"mu": 0.25}, total_bytes=len(file), offset=request.offset
        )
        cut = self.cuts.pop(0) if self.cuts else None
        file = file[request.offset :]
        for start in range(0, len(file if cut is None else file[:cut]), 1 << 20):
            yield weights_pb2.FetchWeightsResponse(data=file[start : start + (1 << 20)][: cut and cut - start])
        if cut is not None:
            self.abort(context, BROKEN)

    def SubmitWeights(self, requests, context):
        self.take("SubmitWeights", requests, context)
        submission = submission_pb2.Submission(id="s1", state=submission_pb2.SUBMISSION_STATE_PENDING)
        return weights_pb2.SubmitWeightsResponse(submission=submission)

    def CreateModel(self, requests, context):
        first = self.take("CreateModel", requests, context)
        return model_pb2.CreateModelResponse(model=model_pb2.Model(name=first.name, id="m1"))

    def take(self, method, requests, context):
        """Keeps an upload's bytes, as far as it is not cut."""
        first, cut = None, self.cuts.pop(0) if self.cuts else None
        for request in requests:
            self.requests.append(request)
            if first is None:
                first = request
                kept = self.kept.setdefault(first.idempotency_key, bytearray())
                self.fail(method, context)
                assert first.offset <= len(kept)
                del kept[first.offset :]
            kept += request.data
            if cut is not None and len(kept) - first.offset >= cut:
                del kept[first.offset + cut :]
                self.abort(context, BROKEN)
        return first

    def GetUpload(self, request, context):
        self.requests.append(request)
        self.fail("GetUpload", context)
        return weights_pb2.GetUploadResponse(kept_bytes=len(self.kept.get(request.idempotency_key, b"")))

    def GetNode(self, request, context):
        self.requests.append(request)
        self.names.append(context.auth_context().get("x509_common_name", [None])[0])
        self.fail("GetNode", context)
        return node_pb2.GetNodeResponse()

    def GetModel(self, request, context):
        self.requests.append(request)
        return model_pb2.GetModelResponse(model=self.model(2))

    def ListTensors(self, request, context):
        self.requests.append(request)
        start = int(request.page_token)
        end = min(start + 2, 5)
        tensors = self.model(5).tensors[start:end]
        return model_pb2.ListTensorsResponse(tensors=tensors, next_page_token=str(end) if end < 5 else "")

    def model(self, tensors):
        """A model of five tensors, of which so many are shown."""
        shown = [model_pb2.TensorSpec(name=f"t{number}") for number in range(tensors)]
        return model_pb2.Model(name="m", id="m1", tensor_count=5, tensors=shown)

    def ListModels(self, request, context):
        page = {"": ("a", "t1"), "t1": ("b", "")}[request.page_token]
        return model_pb2.ListModelsResponse(models=[model_pb2.Model(name=page[0])], next_page_token=page[1])

    def WatchModels(self, request, context):
        def message(name, standing):
            return model_pb2.WatchModelsResponse(model=model_pb2.Model(name=name, standing=standing))

        self.fail("WatchModels", context)
        yield model_pb2.WatchModelsResponse(kind=common_pb2.WATCH_KIND_SNAPSHOT_END)
        yield message("other", model_pb2.MODEL_STANDING_JOINED)
        yield message("m", model_pb2.MODEL_STANDING_AVAILABLE)
        yield message("m", model_pb2.MODEL_STANDING_SYNCING)
        self.fail("Joined", context)
        yield message("m", model_pb2.MODEL_STANDING_JOINED)

    def JoinModel(self, request, context):
        self.requests.append(request)
        self.fail("JoinModel", context)
        return model_pb2.JoinModelResponse()

    def fail(self, method, context):
        """Refuses this call if the test says so."""
        failures = self.failures.get(method)
        failure = failures.pop(0) if failures else None
        if failure:
            self.abort(context, failure)

    def abort(self, context, failure):
        """Ends a call with what `refusal` made, or as a connection that broke."""
        code, status = failure
        if status:
            context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        context.abort(code, status.message if status else "Socket closed")

    def of(self, kind):
        """The requests of one kind."""
        return [request for request in self.requests if isinstance(request, kind)]


class Traceparents(grpc.ServerInterceptor):
    """Keeps the trace context of every call."""

    def __init__(self, node):
        self._node = node

    def intercept_service(self, continuation, details):
        self._node.traceparents.append(dict(details.invocation_metadata).get("traceparent"))
        return continuation(details)


class Gate(grpc.ServerInterceptor):
    """Lets the calls with one of its tokens pass, and refuses the others as a node does."""

    def __init__(self, *tokens):
        self.tokens = set(tokens)
        self.calls = []
        """Each call's method and what it showed."""

    def intercept_service(self, continuation, details):
        shown = dict(details.invocation_metadata).get("authorization")
        self.calls.append((details.method.split("/")[-1], shown))
        handler = continuation(details)
        if shown in {f"Bearer {token}" for token in self.tokens}:
            return handler
        reason = "CREDENTIAL_REFUSED" if shown else "CREDENTIAL_MISSING"
        code, status = refusal(grpc.StatusCode.UNAUTHENTICATED, reason, message="the token is not known here")

        def refuse(_, context):
            Node.abort(None, context, (code, status))

        kinds = ["stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)]
        return handler._replace(**{"_".join(kinds): refuse})


@contextmanager
def serve(node, target="127.0.0.1:0", *, tls=None, gate=None):
    """Serves a node on loopback or on a socket, with the credentials of a server if there are any; the address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), interceptors=[Traceparents(node), *([gate] if gate else [])])
    weights_pb2_grpc.add_WeightsServiceServicer_to_server(node, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(node, server)
    node_pb2_grpc.add_NodeServiceServicer_to_server(node, server)
    port = server.add_secure_port(target, tls) if tls else server.add_insecure_port(target)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
