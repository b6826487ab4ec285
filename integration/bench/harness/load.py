"""Drives one target with wrk, h2load or our own peer, and measures its CPU time over a steady window."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field

from .processes import die_with_parent
from .scenarios import RATE
from .targets import GROUP, HOST, SUITE
from .tools import BenchError


@dataclass(frozen=True)
class Pace:
    """Seconds before the window (handshakes, pools and HPACK tables are then in place), and after it: the window never sees
    the end of the load."""

    warm_up: float
    tail: float


FULL, QUICK = Pace(0.7, 0.3), Pace(0.3, 0.2)


@dataclass(frozen=True)
class Sample:
    """One target, one scenario, one round. `value` is what the table shows, `more` other figures by the name of their series."""

    value: float
    requests_per_second: float
    utilisation: float
    more: dict = field(default_factory=dict)


class Load:
    def __init__(self, bench, paths, shim, peer, pace=FULL):
        self.bench, self.paths, self.shim, self.peer, self.pace = bench, paths, shim, peer, pace

    def environment(self, target, scenario, shim=True):
        certificates = self.bench.certificates
        more = {"LD_PRELOAD": self.shim} if shim else {}
        return dict(
            os.environ, BENCH_CHAIN=f"{certificates}/load.pem", BENCH_KEY=f"{certificates}/load.key", BENCH_SUITE=SUITE,
            BENCH_GROUP=GROUP, BENCH_SNI=target.sni.get(scenario.route, "none"), BENCH_HOST=HOST[scenario.route],
            BENCH_PATH=scenario.path, **more)

    def command(self, scenario, port, seconds=None, requests=None):
        """The tool's command line for a time in whole seconds or for a number of requests (h2load only)."""
        if scenario.tool == "handshakes":
            return [self.peer, "handshakes", str(port), str(seconds)]
        if scenario.tool == "latency":
            return [self.peer, "latency", str(port), str(seconds), str(RATE), str(scenario.connections)]
        scheme = "http" if scenario.route.startswith("app-") else "https"
        if scenario.tool == "wrk" and seconds:
            return [self.paths["wrk"], "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "-H",
                    f"Host: {HOST[scenario.route]}", f"{scheme}://127.0.0.1:{port}{scenario.path}"]
        amount = [f"-n{requests}"] if requests else ["-D", str(seconds)]
        protocol = ["--h1"] if scenario.tool == "wrk" else []
        return [self.paths["h2load"], "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", *amount, *protocol,
                f"--connect-to=127.0.0.1:{port}", f"{scheme}://{HOST[scenario.route]}{scenario.path}"]

    def measure(self, target, scenario, seconds):
        """CPU time of `target` per request that reached the backend, over `seconds` of steady load (latency: its percentiles)."""
        own = scenario.tool in ("handshakes", "latency")
        duration = int(self.pace.warm_up + seconds + self.pace.tail + 0.999)
        # What is left of the tool's whole seconds is used too.
        seconds = duration - self.pace.warm_up - self.pace.tail
        tool = subprocess.Popen(
            self.command(scenario, target.ports[scenario.route], seconds=duration), stdin=subprocess.DEVNULL, text=True,
            env=self.environment(target, scenario, shim=not own), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent)
        try:
            time.sleep(self.pace.warm_up)
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
        target.check()
        where = f"{target.name}, {scenario.name}"
        more = self._judge_own(where, tool.returncode, output) if own else self._judge(where, scenario, tool.returncode, output)
        if early:
            raise BenchError(f"{where}: {scenario.tool} ended before the window did")
        wall, cpu = last[0] - first[0], last[1] - first[1]
        requests = last[2] - first[2] - 1
        if requests <= 0:
            raise BenchError(f"{where}: no request reached the backend:\n{output[-1000:]}")
        cost = round(cpu / requests * 1e6, 3)
        if scenario.tool == "latency":
            value, series = more["p50"], {"p99": more["p99"], "p999": more["p999"], "cpu": cost}
        else:
            value, series = cost, {}
        return Sample(value, round(requests / wall), round(cpu / wall, 3), series)

    def _now(self, target):
        requests = self.bench.answered()
        return time.monotonic(), target.cpu(), requests

    def _judge_own(self, where, code, output):
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if code != 0 or not lines or '"done"' not in lines[-1]:
            raise BenchError(f"{where}: the load ended with status {code}:\n{output[-1000:]}")
        return json.loads(lines[-1])

    def _judge(self, where, scenario, code, output):
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
        if bad:
            raise BenchError(f"{where}: {bad.group(0)}")
        if code != 0 or not done or int(done.group(1)) == 0:
            raise BenchError(f"{where}: {scenario.tool} ended with status {code}:\n{output[-1000:]}")
        return {}
