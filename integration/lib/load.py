#!/usr/bin/python3
"""load.py PROXY URL RATE CONNECTIONS SECONDS: GETs at a steady rate over kept connections, one JSON row per answer.

Row: [monotonic seconds at the answer, status (0: none), who answered, milliseconds]. A connection that ended is
replaced; the request that met its end counts as it came out. SIGTERM: finish what is in flight and end.
"""
import http.client
import json
import signal
import sys
import threading
import time

proxy, url, rate, connections, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
host, port = proxy.rsplit(":", 1)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
lock = threading.Lock()
begun = time.monotonic()


def who(body):
    try:
        return json.loads(body).get("name", "")
    except ValueError:
        return body.decode("latin-1")[:60].strip()


def worker(index):
    connection = None
    turn = index
    while not stop.is_set():
        due = begun + turn / rate
        turn += connections
        wait = due - time.monotonic()
        if wait > 0 and stop.wait(wait):
            return
        if time.monotonic() - begun > seconds:
            return
        sent = time.monotonic()
        try:
            if connection is None:
                connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request("GET", url)
            answer = connection.getresponse()
            body = answer.read()
            status = answer.status
            text = who(body) if status == 200 else answer.getheader("meshfed-error", "")
            if answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, repr(error)
            if connection:
                connection.close()
            connection = None
        done = time.monotonic()
        with lock:
            print(json.dumps([done, status, text, round((done - sent) * 1000, 1)]), flush=True)


threads = [threading.Thread(target=worker, args=(i,), daemon=True) for i in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    while thread.is_alive():
        thread.join(0.2)
