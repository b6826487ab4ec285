"""What the demo and the suites share: a running topology, calls from inside its pods, polling with a deadline.

Nothing here knows a secret of the product: it uses the public commands, the network and the log files.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAMS = os.environ.get("MESHFED_BIN", os.path.join(ROOT, ".build-release", "release"))
MESHFED = os.path.join(PROGRAMS, "meshfed")
PROXY = os.path.join(PROGRAMS, "meshfed-proxy")
PYTHON = "/usr/bin/python3"
OUTBOUND = "127.0.0.1:15080"


class Failed(Exception):
    """A fact that does not hold: what was expected, what came."""

    def __init__(self, what, expected, came):
        super().__init__(f"{what}\n    expected: {expected}\n    came:     {came}")


def say(text):
    print(text, flush=True)


def run(arguments, check=True, timeout=60, **options):
    """Runs a command to its end with both outputs as text."""
    result = subprocess.run(
        [str(a) for a in arguments], capture_output=True, text=True, errors="replace", timeout=timeout, **options)
    if check and result.returncode != 0:
        raise Failed(" ".join(str(a) for a in arguments), "exit 0",
                     f"exit {result.returncode}: {(result.stderr or result.stdout).strip()[-600:]}")
    return result


def wait_until(what, ask, seconds=15, every=0.05):
    """Asks until the answer is true; the answer. `ask` may raise Failed: that is a "not yet"."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = ask()
            if last:
                return last
        except Failed as failure:
            last = failure
        if time.monotonic() > deadline:
            raise Failed(what, f"true within {seconds} s", str(last) if last else "never true")
        time.sleep(every)


class Response:
    """An HTTP answer as curl saw it."""

    def __init__(self, status, headers, body, seconds, version):
        self.status = status
        self.headers = headers
        self.body = body
        self.seconds = seconds
        self.version = version

    @property
    def reason(self):
        """The word of `meshfed-error`, or nothing."""
        return self.headers.get("meshfed-error", "").split(";")[0].strip()

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failed("the body of the answer", "JSON", self.body[:300])

    def __str__(self):
        extra = f" ({self.headers['meshfed-error']})" if "meshfed-error" in self.headers else ""
        return f"{self.status}{extra} {self.body[:300]!r}"


class Topology:
    """One running topology."""

    def __init__(self, file, state):
        self.file = os.path.abspath(file)
        self.state = state
        self._report = None

    def up(self, join=True, timeout=60, quiet=False):
        arguments = [MESHFED, "topology", "up", self.file, "--detach", "--state-dir", self.state,
                     "--timeout", str(timeout), "--keep-logs"]
        if not join:
            arguments.append("--no-join")
        if quiet:
            run(arguments, timeout=timeout * 3)
        else:
            code = subprocess.run(arguments, timeout=timeout * 3).returncode
            if code != 0:
                raise Failed("topology up", "exit 0", f"exit {code}")
        return self

    def down(self):
        return run([MESHFED, "topology", "down", self.file, "--state-dir", self.state], check=False)

    def report(self, fresh=False):
        if self._report is None or fresh:
            self._report = json.loads(run(
                [MESHFED, "topology", "status", self.file, "--state-dir", self.state, "-o", "json"]).stdout)
        return self._report

    def node(self, name):
        return self._find("nodes", name)

    def cluster(self, name):
        for cluster in self.report()["clusters"]:
            if cluster["name"] == name:
                return cluster
        raise Failed("topology", f"a cluster {name}", [c["name"] for c in self.report()["clusters"]])

    def process(self, name):
        return self._find("processes", name, fresh=True)

    def address(self, node, interface="eth0"):
        return self.node(node)["addresses"][interface]

    def namespace(self, node):
        """The namespace of a node (`east/web`) or of a network (`wan`, `east-net`)."""
        for network in self.report()["networks"]:
            if network["id"] == node:
                return network["namespace"]
        return self.node(node)["namespace"]

    def _find(self, kind, name, fresh=False):
        for entry in self.report(fresh)[kind]:
            if entry["id"] == name:
                return entry
        raise Failed("topology", f"{name} among its {kind}", [e["id"] for e in self.report()[kind]])

    # Processes

    def inside(self, node, arguments):
        return ["nsenter", f"--net=/run/netns/{self.namespace(node)}"] + [str(a) for a in arguments]

    def exec(self, node, arguments, check=True, timeout=60, **options):
        """Runs a command inside the network of `node`."""
        return run(self.inside(node, arguments), check=check, timeout=timeout, **options)

    def popen(self, node, arguments, **options):
        return subprocess.Popen(self.inside(node, arguments), **options)

    def kill(self, *names):
        """SIGKILL, and waits until the supervisor saw the end."""
        run([MESHFED, "topology", "stop", self.file, *names, "--kill", "--state-dir", self.state])
        wait_until(f"{', '.join(names)} ended", lambda: not self._running(names), seconds=5, every=0.01)

    def start(self, *names, seconds=30):
        run([MESHFED, "topology", "start", self.file, *names, "--state-dir", self.state])
        wait_until(f"{', '.join(names)} ready", lambda: self._running(names, "ready"), seconds=seconds)

    def _running(self, names, state=None):
        entries = [p for p in self.report(fresh=True)["processes"] if p["id"] in names or p["node"] in names]
        if state:
            return all(p["state"] == state for p in entries)
        return any("pid" in p for p in entries)

    def log(self, process):
        with open(self.process(process)["log"], errors="replace") as file:
            return file.read()

    def svid(self, process):
        """What `meshfed svid show` says of the certificate of a proxy."""
        command = self.process(process)["command"]
        state = command[command.index("--state-dir") + 1]
        return json.loads(run([MESHFED, "svid", "show", "--state-dir", state, "-o", "json"]).stdout)

    # Commands

    def mesh(self, cluster, *arguments, check=True, timeout=60, **options):
        """`meshfed …` against the broker of `cluster`."""
        environment = dict(os.environ, MESHFED_BROKER=self.cluster(cluster)["adminSocket"])
        return run([MESHFED, *arguments], check=check, timeout=timeout, env=environment, **options)

    def mesh_json(self, cluster, *arguments):
        output = self.mesh(cluster, *arguments, "-o", "json").stdout
        try:
            return json.loads(output)
        except ValueError:
            raise Failed("meshfed " + " ".join(arguments), "JSON", output[:300])

    def configure(self, cluster, name, text):
        """Puts an object file into the watched directory of `cluster`, whole or not at all."""
        path = os.path.join(self.cluster(cluster)["configuration"], name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)
        return path

    # Calls

    def curl(self, node, arguments, check=True, timeout=30):
        return self.exec(node, ["curl", "--silent", "--show-error", "--max-time", str(timeout), *arguments],
                         check=check, timeout=timeout + 5)

    def http(self, node, url, *extra, timeout=10, proxy=True):
        """A call by curl from inside `node`, through its sidecar unless `proxy` is false."""
        arguments = ["--include", "--write-out", "\n%{http_code} %{time_total} %{http_version}"]
        if proxy:
            arguments += ["--proxy", f"http://{OUTBOUND}"]
        result = self.curl(node, arguments + list(extra) + [url], check=False, timeout=timeout)
        if result.returncode != 0:
            raise Failed(f"curl {url} in {node}", "an answer", f"curl exit {result.returncode}: {result.stderr.strip()}")
        return parse_curl(result.stdout)

    def metrics(self, node):
        """The samples of the proxy of `node`: [(name, labels, value)]."""
        text = self.curl(node, ["http://127.0.0.1:15020/metrics"]).stdout
        return parse_metrics(text)

    def metric(self, node, name, **labels):
        """The sum of the samples of `name` that carry `labels`."""
        return sum(value for sample, its, value in self.metrics(node)
                   if sample == name and all(its.get(k) == v for k, v in labels.items()))


def parse_curl(text):
    text, _, last = text.replace("\r\n", "\n").rpartition("\n")
    status, seconds, version = last.split(" ")
    # Informational answers and the proxy's own to CONNECT come first: the last header block counts.
    head, body = "", text
    while re.match(r"HTTP/[0-9.]+ ", body):
        head, _, body = body.partition("\n\n")
    headers = {}
    for line in head.split("\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Response(int(status), headers, body, float(seconds), version)


def parse_metrics(text):
    samples = []
    for line in text.split("\n"):
        match = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)", line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
            samples.append((match.group(1), labels, float(match.group(3))))
    return samples


class Load:
    """A steady stream of GETs from inside a pod, each written down with its time and answer."""

    def __init__(self, topology, node, url, rate=100, connections=4, seconds=60):
        # A file: a pipe that nobody reads meanwhile would stop the stream when it is full.
        self.output = tempfile.TemporaryFile(mode="w+")
        self.process = topology.popen(
            node, [PYTHON, os.path.join(HERE, "load.py"), OUTBOUND, url, str(rate), str(connections), str(seconds)],
            stdout=self.output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def finish(self):
        """Stops it; [(monotonic time of the answer, status, who, milliseconds)] in order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        self.output.seek(0)
        output = self.output.read()
        rows = [json.loads(line) for line in output.split("\n") if line.startswith("[")]
        return [tuple(row) for row in sorted(rows)]


def expect(what, expected, came, holds=None):
    """Raises Failed unless `came` equals `expected` (or `holds` says so)."""
    if not (came == expected if holds is None else holds):
        raise Failed(what, expected, came)


def prefer(pid, nice):
    """Gives a process, with all its threads, another priority; without the right to it things stay as they are."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)
        except (OSError, ValueError):
            pass
    # Where the kernel weighs whole sessions, that is what counts.
    try:
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write(str(nice))
    except OSError:
        pass


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def main(step):
    """Runs one step of a suite: its function, with a Failed turned into words and exit 1."""
    try:
        step()
    except Failed as failure:
        say(f"FAILED: {failure}")
        sys.exit(1)


def suite_topology():
    """The topology of the running suite (integration/run sets both variables)."""
    return Topology(os.path.join(os.environ["SUITE_DIR"], "topology.yaml"), os.environ["SUITE_STATE"])


def ok(response, status=200):
    """The response, if it has the status: else Failed, which wait_until takes for "not yet"."""
    expect("the answer", f"status {status}", str(response), response.status == status)
    return response
