"""One broker on loopback with ports of its own choice: for suites that need no network."""

import os
import re
import signal
import subprocess
import time

from meshtest import MESHFED, Failed, run, wait_until


class Broker:
    """A broker process; a context that always ends it."""

    def __init__(self, folder, cluster="east", arguments=()):
        self.folder = folder
        self.state = os.path.join(folder, "broker")
        self.configuration = os.path.join(folder, "config")
        self.log_path = os.path.join(folder, "broker.log")
        self.cluster = cluster
        self.arguments = list(arguments)
        self.process = None
        os.makedirs(self.configuration, exist_ok=True)

    @property
    def socket(self):
        return os.path.join(self.state, "admin.sock")

    def command(self):
        command = [MESHFED, "broker", "run", "--cluster", self.cluster, "--state-dir", self.state, "--config", self.configuration,
                   "--advertise", "127.0.0.1"]
        for flag in ("--listen-mtls", "--listen-join", "--listen-http"):
            if flag not in self.arguments:
                command += [flag, "127.0.0.1:0"]
        return command + self.arguments

    def start(self, seconds=15):
        with open(self.log_path, "ab") as log:
            offset = log.tell()
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise SystemExit(f"FAILED: the broker ended with {self.process.returncode}: {self.log(offset)[-600:]}")
            return "broker: ready" in self.log(offset)

        wait_until("the broker is ready", ready, seconds=seconds, every=0.01)
        return self

    def log(self, offset=0):
        with open(self.log_path, errors="replace") as file:
            file.seek(offset)
            return file.read()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self):
        """SIGTERM; the exit code."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed("the broker after SIGTERM", "an end within 15 s", "none")
        return self.process.returncode

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def mesh(self, *arguments, check=True, timeout=30, **options):
        return run([MESHFED, *arguments], check=check, timeout=timeout,
                   env=dict(os.environ, MESHFED_BROKER=self.socket), **options)

    def fails_to_start(self, seconds=15):
        """Runs the broker, which must end by itself; its exit code and output."""
        result = subprocess.run(self.command(), capture_output=True, text=True, errors="replace", timeout=seconds)
        return result
