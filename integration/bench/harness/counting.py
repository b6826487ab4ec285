"""Instructions, allocations, retains and system calls per request: counted by callgrind, not timed, so repeatable on a busy machine.

Two loads that differ only in their number of requests are counted and subtracted: handshakes and the end of a connection cancel out.
"""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .load import Load
from .peers import Peers
from .scenarios import Scenario
from .targets import BODIES, BODY, Bench
from .tools import BenchError

ALLOCATIONS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"}
RETAINS, RELEASES = {"swift_retain", "swift_retain_n"}, {"swift_release", "swift_release_n"}


@dataclass(frozen=True)
class Counted:
    """A load of whole requests: `few` and `many` of them. `each` is what one request is divided by (chunks of its body)."""

    scenario: Scenario
    few: int
    many: int
    each: int = 1


# h2load takes a number of requests, which wrk does not ("wrk" here only selects HTTP/1.1); "get" is our own peer: one connection,
# one request after the other, so that nothing is batched and system calls are exact; "dial" is a connection for each request.
CHUNKS = BODIES["1m"] // 16384
COUNTED = {c.scenario.name: c for c in [
    Counted(Scenario("gateway-http1", "wrk", 32, 1, "http2"), 500, 2500),
    Counted(Scenario("gateway-http2", "h2load", 8, 32, "http2"), 1000, 5000),
    Counted(Scenario("gateway-http2-single", "h2load", 32, 1, "http2"), 500, 2500),
    Counted(Scenario("gateway-http1-alone", "get", 1, 1, "http2"), 50, 550),
    Counted(Scenario("gateway-tcp-alone", "get", 1, 1, "tcp", "/1k"), 50, 550),
    Counted(Scenario("gateway-handshake", "dial", 1, 1, "http2"), 10, 60),
    Counted(Scenario("gateway-tcp-chunk", "get", 1, 1, "tcp", "/1m"), 2, 14, CHUNKS),
    Counted(Scenario("gateway-http1-chunk", "get", 1, 1, "http1", "/1m"), 2, 14, CHUNKS),
    Counted(Scenario("gateway-http2-chunk", "h2load", 1, 1, "http2", "/1m"), 2, 14, CHUNKS),
]}


def drive(load, target, counted, requests, seconds=300):
    """Exactly `requests` requests; one that fails spoils the count."""
    scenario, port = counted.scenario, target.ports[counted.scenario.route]
    own = scenario.tool in ("get", "dial")
    command = [load.peer, scenario.tool, str(port), str(requests)] if own else load.command(scenario, port, requests=requests)
    done = subprocess.run(
        command, env=load.environment(target, scenario, shim=not own), capture_output=True, text=True, timeout=seconds)
    target.check()
    size = BODIES.get(scenario.path.removeprefix("/"), len(BODY))
    # h2load 1.52 counts every HTTP/1.1 answer as failed; that all bodies came whole holds for both protocols.
    whole = f'"done": {requests}' in done.stdout if own else (
        f"{requests} done," in done.stdout and f"({requests * size}) data" in done.stdout)
    if done.returncode != 0 or not whole:
        raise BenchError(f"{target.name}, {scenario.name}: not all of {requests} requests succeeded:\n"
                         f"{(done.stdout + done.stderr)[-1500:]}")


def read(path, program):
    """Sums of one callgrind file. `program` is the name of the binary whose own allocations are told from its libraries'."""
    names, objects = {}, {}
    found = dict.fromkeys(("instructions", "systemCalls", "mallocs", "ownMallocs", "retains", "releases"), 0)
    current, called = "", ""

    def name(table, text):
        number, _, given = text.rstrip("\n").partition(" ")
        if given:
            table[number] = given
        return table.get(number, "")

    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            kind, _, rest = line.partition("=")
            if kind == "ob":
                current = os.path.basename(name(objects, rest))
            elif kind == "cob":
                name(objects, rest)
            elif kind == "fn":
                name(names, rest)
            elif kind == "cfn":
                called = name(names, rest).split("'")[0].split("@")[0]
            elif kind == "calls":
                count = int(rest.split()[0])
                if called in ALLOCATIONS:
                    found["mallocs"] += count
                    found["ownMallocs"] += count if current == program else 0
                elif called in RETAINS:
                    found["retains"] += count
                elif called in RELEASES:
                    found["releases"] += count
            elif line.startswith("totals:"):
                # events: Ir sysCount sysTime
                words = line.split()
                found["instructions"] = int(words[1])
                found["systemCalls"] = int(words[2]) if len(words) > 2 else 0
    if found["instructions"] == 0:
        raise BenchError(f"{path} holds no totals")
    return found


class Callgrind:
    """One target under callgrind; `count` may be asked again and again."""

    def __init__(self, fleet, directory, certificates, paths, shim, peer, name="meshfed"):
        paths = dict(paths)
        if name == "meshfed":
            # Valgrind 3.19 gives up on lld's debugging information; names come from the symbol table.
            bare = Path(directory) / "meshfed-proxy"
            subprocess.run([paths["objcopy"], "--strip-debug", paths["meshfed-proxy"], str(bare)], check=True)
            paths["meshfed-proxy"] = str(bare)
        self.paths, self.directory = paths, Path(directory)
        self.program = "meshfed-proxy" if name == "meshfed" else name
        self.output = self.directory / "callgrind"
        prefix = [paths["valgrind"], "--tool=callgrind", "--collect-systime=yes", f"--callgrind-out-file={self.output}"]
        bench = Bench(fleet, directory, certificates, paths, prefix)
        bench.start_backend()
        self.target = (bench.gateway_meshfed if name == "meshfed" else getattr(Peers(bench), f"gateway_{name}"))()
        self.load = Load(bench, paths, shim, peer)
        self.bench, self.dumps = bench, 0
        self.proven = set()

    def _dump(self):
        """What was counted since the last dump."""
        self.dumps += 1
        path = self.output.with_name(f"callgrind.{self.dumps}")
        done = subprocess.run([self.paths["callgrind_control"], "--dump", str(self.target.child.pid)], capture_output=True,
                              text=True, timeout=60)
        end = time.monotonic() + 30
        while not path.exists() or "totals:" not in path.read_text(errors="replace")[-200:]:
            if done.returncode != 0 or time.monotonic() > end:
                raise BenchError(f"callgrind_control wrote no dump: {done.stdout[-300:]}{done.stderr[-300:]}")
            time.sleep(0.05)
        found = read(path, self.program)
        path.unlink()
        return found

    def count(self, counted):
        """Per request, or per `each` of it: instructions, systemCalls, mallocs, ownMallocs, retains, releases."""
        if counted.scenario.route not in self.proven:
            self.bench.prove(self.target, counted.scenario.route)
            self.proven.add(counted.scenario.route)
            # Pools, tables and lists grow to what the load needs before anything is counted.
            drive(self.load, self.target, counted, counted.few)
        self._dump()
        sums = []
        for requests in (counted.few, counted.many):
            drive(self.load, self.target, counted, requests)
            sums.append(self._dump())
        extra = (counted.many - counted.few) * counted.each
        return {kind: round((sums[1][kind] - sums[0][kind]) / extra, 2) for kind in sums[0]}


def system_calls(fleet, paths, directory, target, drive_load):
    """{name: count} of a running target while `drive_load` runs. strace slows its target, so batches are smaller than at speed."""
    output = Path(directory) / "strace"
    tracer = fleet.start("strace", [paths["strace"], "-f", "-c", "-o", str(output), "-p", str(target.child.pid)])
    try:
        tracer.wait_text("attached")
    except BenchError as error:
        raise BenchError(f"strace cannot attach (root is needed where kernel.yama.ptrace_scope is not 0): {error}") from None
    time.sleep(0.3)
    drive_load()
    tracer.stop(20)
    fleet.children.remove(tracer)
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$", output.read_text(), re.MULTILINE)
    shutil.copy(output, output.with_suffix(".last"))
    return {name: int(calls) for calls, name in rows if name != "total"}
