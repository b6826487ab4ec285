#!/usr/bin/python3
"""grpc_call.py TARGET [--authority NAME] [--method PATH] [--stream N]: one gRPC call by grpcio, its outcome as JSON.

The message is a grpc.health.v1 request or reply without fields, or bytes given by --message; nothing is generated.
With `http_proxy` in the environment grpcio makes a CONNECT to TARGET there.
"""
import argparse
import json
import grpc

parser = argparse.ArgumentParser()
parser.add_argument("target")
parser.add_argument("--authority")
parser.add_argument("--method", default="/grpc.health.v1.Health/Check")
parser.add_argument("--message", default="")
parser.add_argument("--stream", type=int, default=0)
parser.add_argument("--timeout", type=float, default=8)
options = parser.parse_args()


def same(message):
    return message


settings = [("grpc.enable_retries", 0)]
if options.authority:
    settings.append(("grpc.default_authority", options.authority))
channel = grpc.insecure_channel(options.target, options=settings)
result = {"code": "OK", "metadata": {}, "trailers": {}, "details": "", "messages": []}


def texts(metadata):
    return {k: v if isinstance(v, str) else v.hex() for k, v in metadata or ()}


try:
    if options.stream:
        call = channel.stream_stream(options.method, request_serializer=same, response_deserializer=same)(
            iter([options.message.encode()] * options.stream), timeout=options.timeout)
        result["messages"] = [m.decode("latin-1") for m in call]
    else:
        reply, call = channel.unary_unary(options.method, request_serializer=same, response_deserializer=same).with_call(
            options.message.encode(), timeout=options.timeout)
        result["messages"] = [reply.decode("latin-1")]
    result["metadata"] = texts(call.initial_metadata())
    result["trailers"] = texts(call.trailing_metadata())
except grpc.RpcError as error:
    result["code"] = error.code().name
    result["details"] = error.details()
    result["metadata"] = texts(error.initial_metadata())
    result["trailers"] = texts(error.trailing_metadata())
print(json.dumps(result))
