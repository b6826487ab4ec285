#!/usr/bin/python3
"""A grpcio server without generated code: unary, both streams, an error with details, a slow one."""
import time
from concurrent import futures

import grpc


def unary(message, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-caller", metadata.get("x-forwarded-client-cert", "")),
                                   ("x-seen", ",".join(sorted(k for k in metadata if k.startswith("meshfed"))))))
    context.set_trailing_metadata((("x-trailer", "yes"), ("x-bytes-bin", b"\0\xff")))
    return message


def stream(messages, context):
    for message in messages:
        yield message


def fail(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: \u00e4")


def slow(message, context):
    time.sleep(5)
    return message


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/t.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/t.T/Stream": grpc.stream_stream_rpc_method_handler(stream),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(fail),
            "/t.T/Slow": grpc.unary_unary_rpc_method_handler(slow),
        }.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port("127.0.0.1:9090")
server.start()
server.wait_for_termination()
