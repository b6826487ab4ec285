#!/usr/bin/python3
"""server.py PORT LOG: Python's own http.server; a line of LOG for each request: trace, method, host, target, length, cookie."""
import http.server
import sys

LOG = open(sys.argv[2], "a", buffering=1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        length = 0
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            length = len(self.rfile.read(int(self.headers.get("content-length", 0))))
        # http.server takes "//a" for "/a" in `path`; the request line is what came.
        target = self.requestline.split(" ")[1]
        LOG.write("\t".join([self.headers.get("traceparent", "-"), self.command, self.headers.get("host", "-"), target, str(length), "; ".join(self.headers.get_all("cookie", []))]) + "\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
