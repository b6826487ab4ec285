"""Child processes that never outlive the run, and what the kernel says about them."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from .tools import BenchError

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Runs in the child before exec: the kernel ends it when the harness dies, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One process of the run; its output goes to `log`, whose start is kept and whose growth is bounded by `trim`."""

    def __init__(self, name, arguments, log, environment=None):
        self.name, self.log = name, Path(log)
        # An earlier child of this name may have said what `wait_text` waits for.
        self.log.unlink(missing_ok=True)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                preexec_fn=die_with_parent)

    @property
    def pid(self):
        return self.process.pid

    def cpu(self):
        """Seconds of user + system time of all threads, the ended ones too (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def _status(self, name):
        """A field of /proc/PID/status in KB."""
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if ":" in line)
        return int(fields[name].split()[0])

    def memory(self):
        """(RSS, anonymous part of it) in MB."""
        return tuple(round(self._status(name) / 1024, 1) for name in ("VmRSS", "RssAnon"))

    def anonymous(self):
        """Anonymous memory in KB."""
        return self._status("RssAnon")

    def text(self, limit=2000):
        data = self.log.read_bytes()
        return data[-limit:].decode(errors="replace")

    def trim(self):
        """Forgets the log so far: an access log at full speed would fill the disk."""
        os.truncate(self.log, 0)

    def check(self):
        code = self.process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with status {code}:\n{self.text()}")

    def wait_port(self, port, seconds=15):
        """Until 127.0.0.1:port takes a connection."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchError(f"{self.name} did not listen on 127.0.0.1:{port} within {seconds} s:\n{self.text()}")

    def wait_text(self, text, seconds=15):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in self.log.read_bytes().decode(errors="replace"):
                return
            self.check()
            time.sleep(0.05)
        raise BenchError(f"{self.name} did not print '{text}' within {seconds} s:\n{self.text()}")

    def stop(self, seconds=5):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class Fleet:
    """All children of a run. Leaving it ends each of them by its pid, newest first."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.children = []

    def __enter__(self):
        return self

    def start(self, name, arguments, environment=None):
        child = Child(name, arguments, self.directory / f"{name}.log", environment)
        self.children.append(child)
        return child

    def stop(self, child, seconds=5):
        child.stop(seconds)
        self.children.remove(child)

    def __exit__(self, *_):
        for child in reversed(self.children):
            try:
                child.stop()
            except (OSError, subprocess.SubprocessError):
                child.process.kill()
        self.children.clear()
