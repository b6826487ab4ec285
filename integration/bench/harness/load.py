"""Drives one target with wrk or h2load and measures its CPU time over a steady window."""

import os
import re
import subprocess
import time
from dataclasses import dataclass

from .processes import die_with_parent
from .targets import GROUP, MESH_NAME, SUITE
from .tools import BenchError

# Seconds before the window: handshakes, connection pools and HPACK tables are then in place.
WARM_UP = 0.7
# Seconds the tool must go on after the window, so that the window never sees its end.
TAIL = 0.3


@dataclass(frozen=True)
class Scenario:
    """Who loads: `connections` of `streams` requests each (1 = HTTP/1.1 keep-alive), and what the upstream leg speaks."""

    name: str
    tool: str
    connections: int
    streams: int
    upstream: str


@dataclass(frozen=True)
class Sample:
    """One target, one scenario, one round."""

    microseconds: float
    requests_per_second: float
    utilisation: float


class Load:
    def __init__(self, bench, paths, shim):
        self.bench, self.paths, self.shim = bench, paths, shim

    def environment(self, sni):
        certificates = self.bench.certificates
        return dict(
            os.environ, LD_PRELOAD=self.shim, BENCH_CHAIN=f"{certificates}/load.pem", BENCH_KEY=f"{certificates}/load.key",
            BENCH_SNI=sni, BENCH_SUITE=SUITE, BENCH_GROUP=GROUP)

    def command(self, scenario, port, seconds=None, requests=None):
        """The tool's command line for a time in whole seconds or for a number of requests (h2load only)."""
        url = f"https://127.0.0.1:{port}/"
        if scenario.tool == "wrk" and seconds:
            return [self.paths["wrk"], "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "-H", f"Host: {MESH_NAME}", url]
        amount = [f"-n{requests}"] if requests else ["-D", str(seconds)]
        protocol = ["--h1"] if scenario.tool == "wrk" else []
        return [self.paths["h2load"], "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", *amount, *protocol,
                f"--connect-to=127.0.0.1:{port}", f"https://{MESH_NAME}/"]

    def measure(self, target, scenario, seconds):
        """CPU time of `target` per request that reached the backend, over `seconds` of steady load."""
        duration = int(WARM_UP + seconds + TAIL + 0.999)
        command = self.command(scenario, target.ports[scenario.upstream], seconds=duration)
        tool = subprocess.Popen(
            command, env=self.environment(target.sni[scenario.upstream]), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        try:
            time.sleep(WARM_UP)
            first = self._now(target)
            time.sleep(seconds)
            last = self._now(target)
            early = tool.poll() is not None
            output, _ = tool.communicate(timeout=duration + 20)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{target.name}, {scenario.name}: {scenario.tool} did not end") from None
        finally:
            if tool.poll() is None:
                tool.kill()
                tool.wait(10)
        target.child.check()
        self._judge(target, scenario, tool.returncode, output, early)
        wall, cpu = last[0] - first[0], last[1] - first[1]
        requests = last[2] - first[2] - 1
        if requests <= 0:
            raise BenchError(f"{target.name}, {scenario.name}: no request reached the backend:\n{output[-1000:]}")
        return Sample(round(cpu / requests * 1e6, 3), round(requests / wall), round(cpu / wall, 3))

    def _now(self, target):
        requests = self.bench.answered()
        return time.monotonic(), target.child.cpu(), requests

    def _judge(self, target, scenario, code, output, early):
        """A round with a single failed request is no round."""
        if scenario.tool == "wrk":
            bad = re.search(r"(Non-2xx or 3xx responses: .*|Socket errors: .*)", output)
            done = re.search(r"(\d+) requests in", output)
        else:
            done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
            bad = None
            if done and any(int(number) for number in done.groups()[1:]):
                bad = done
            codes = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
            if codes and any(int(number) for number in codes.groups()):
                bad = codes
        where = f"{target.name}, {scenario.name}"
        if bad:
            raise BenchError(f"{where}: {bad.group(0)}")
        if code != 0 or not done or int(done.group(1)) == 0:
            raise BenchError(f"{where}: {scenario.tool} ended with status {code}:\n{output[-1000:]}")
        if early:
            raise BenchError(f"{where}: {scenario.tool} ended before the window did")
