#!/usr/bin/python3
"""grpc_server.py PORT FILE: a grpcio server without generated code; what is cancelled at it stands in FILE."""
import sys
import threading
import time
from concurrent import futures

import grpc


def note(word):
    with open(sys.argv[2], "a") as file:
        file.write(word + "\n")


def unary(message, context):
    context.set_trailing_metadata((("x-trailer", "yes"), ("x-bytes-bin", b"\0\xff")))
    return message


def client_stream(messages, context):
    return str(sum(len(m) for m in messages)).encode()


def server_stream(message, context):
    count, size = message.split()
    for _ in range(int(count)):
        yield b"s" * int(size)


def both(messages, context):
    for message in messages:
        yield message


def deadline(message, context):
    return str(context.time_remaining()).encode()


def fail(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: \u00e4")


def hang(message, context):
    over = threading.Event()
    context.add_callback(over.set)
    note("begun")
    if over.wait(20):
        note("cancelled")
    return b""


KINDS = {
    "Unary": (grpc.unary_unary_rpc_method_handler, unary), "ClientStream": (grpc.stream_unary_rpc_method_handler, client_stream),
    "ServerStream": (grpc.unary_stream_rpc_method_handler, server_stream), "Both": (grpc.stream_stream_rpc_method_handler, both),
    "Deadline": (grpc.unary_unary_rpc_method_handler, deadline), "Fail": (grpc.unary_unary_rpc_method_handler, fail),
    "Hang": (grpc.unary_unary_rpc_method_handler, hang),
}


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        make, function = KINDS.get(details.method.removeprefix("/t.T/"), (None, None))
        return make and make(function)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
