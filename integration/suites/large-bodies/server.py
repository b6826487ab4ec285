#!/usr/bin/python3
"""GET /N sends N bytes; PUT counts what comes and answers with the number. GET /slow?N: reads nothing for a while first."""
import http.server

BLOCK = bytes(1 << 20)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        count = int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(count))
        self.end_headers()
        while count > 0:
            count -= self.wfile.write(BLOCK[:count])

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        total = 0
        while left > 0:
            data = self.rfile.read(min(left, 1 << 20))
            if not data:
                break
            left -= len(data)
            total += len(data)
        answer = f"{total}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
