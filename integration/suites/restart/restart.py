"""What the steps of this suite share: proxies that are replaced by their like."""
import signal
import textwrap

from meshtest import *

t = suite_topology()
NAME = "ratings.shop.svc.clusterset.local"
URL = f"http://{NAME}/"


class Line:
    """The processes of one proxy, each taking over from the one before; the first is the topology's."""

    def __init__(self, name):
        self.name = name
        process = t.process(name)
        self.command = process["command"]
        self.log = os.path.join(os.environ["SUITE_WORK"], name.replace("/", "-") + ".successors.log")
        self.now = None
        self.old = []
        self.first = process["pid"]

    def launch(self, *extra, wrapper=()):
        with open(self.log, "a") as log:
            return t.popen(self.name, [*wrapper, *self.command, "--takeover", *extra], stdout=log, stderr=log)

    def replace(self, *extra, seconds=30):
        """Starts a successor and waits until it is alone in charge."""
        before = self.text().count(": ready on")
        handed = self.handed()
        fresh = self.launch(*extra)

        def taken():
            if fresh.poll() is not None:
                raise Failed(f"a successor of {self.name}", "it serves", f"exit {fresh.returncode}: {self.text()[-600:]}")
            return self.text().count(": ready on") > before and self.handed() > handed

        wait_until(f"a successor of {self.name}", taken, seconds=seconds, every=0.02)
        if self.now:
            self.old.append(self.now)
        self.now = fresh

    def handed(self):
        return self.text().count(": handed over") + t.log(self.name).count(": handed over")

    def text(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, errors="replace") as file:
            return file.read()

    def ended(self):
        """True when nobody but the newest is left; raises for one that did not end well."""
        for process in self.old:
            if process.poll() not in (None, 0):
                raise Failed(f"the end of a predecessor of {self.name}", "exit 0", f"exit {process.returncode}")
        first = "pid" not in t.process(self.name)
        if first:
            expect(f"the end of the first {self.name}", "exited with status 0", t.process(self.name)["end"])
        return first and all(p.poll() == 0 for p in self.old)

    def finish(self):
        """Ends what this step started and gives the place back to the topology."""
        for process in self.old + ([self.now] if self.now else []):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.old + ([self.now] if self.now else []):
            process.wait(timeout=20)
        if self.now:
            t.start(self.name)


def h2load(node, kind, rate, seconds, clients=8, path="/bytes/1024"):
    """h2load through the sidecar of `node`, at a steady rate for a known time."""
    each = max(1, int(rate / clients))
    flags = ["--h1"] if kind == "http1" else ["-m", "32"]
    return t.popen(node, ["h2load", *flags, "--connect-to", OUTBOUND, "-c", clients, "--rps", each,
                          "-n", int(each * clients * seconds), URL.rstrip("/") + path],
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def judged(kind, process, seconds):
    """(answered, failed) of a run of h2load that has ended."""
    text = process.communicate(timeout=seconds)[0]
    requests = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", text)
    codes = re.search(r"status codes: (\d+) 2xx", text)
    span = re.search(r"finished in ([0-9.]+)(m?s|)", text)
    if not requests or not codes:
        raise Failed(f"h2load {kind}", "a summary", text[-600:])
    total, good = int(requests.group(1)), int(codes.group(1))
    slowest = re.search(r"time for request:\s+\S+\s+(\S+)", text)
    return total, total - good, span.group(0) if span else "", slowest.group(1) if slowest else ""
