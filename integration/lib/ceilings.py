"""What the steps of the suite `ceilings` share: the harness of the benchmark, the table of limits, and the judgement."""
import os
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from pathlib import Path

INTEGRATION = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(INTEGRATION / "bench"))

from harness import certificates, memory, tools
from harness.processes import Fleet
from harness.tools import BenchError

PROGRAMS = Path(os.environ.get("MESHFED_BIN", INTEGRATION.parent / ".build-release" / "release"))
# What the runner counts as skipped.
SKIPPED = 77


def limits():
    with open(Path(os.environ["SUITE_DIR"]) / "limits.toml", "rb") as file:
        return tomllib.load(file)


def paths(*programs):
    """Paths of `programs` and of ours; ends the step as skipped where one cannot be had."""
    try:
        found = tools.need(["openssl", "nginx", "cc", *programs], install=False)
    except BenchError as error:
        print(f"    skipped: {error}", flush=True)
        sys.exit(SKIPPED)
    return found | {name: str(PROGRAMS / name) for name in ("meshfed", "meshfed-proxy")}


@contextmanager
def stage(found):
    """A fleet, a directory, certificates, and our load."""
    memory.raise_file_limit()
    with tempfile.TemporaryDirectory(dir=os.environ["SUITE_WORK"]) as directory, Fleet(Path(directory)) as fleet:
        directory = Path(directory)
        peer = tools.compile_peer(found["cc"], tools.default_cache())
        yield fleet, directory, certificates.mint(found["openssl"], directory / "certificates"), peer


class Judge:
    """Holds what was found against the table, prints both, and ends the step when something is above."""

    def __init__(self):
        self.above = 0

    def __call__(self, what, unit, found, most):
        holds = found <= most
        self.above += not holds
        print(f"    {what:44} {found:>12,} {unit:14} at most {most:,}{'' if holds else '   ABOVE'}", flush=True)

    def end(self):
        if self.above:
            print(f"    {self.above} above the limits of {os.environ['SUITE_DIR']}/limits.toml", flush=True)
            sys.exit(1)


def main(step):
    try:
        step()
    except BenchError as error:
        print(f"    {error}", flush=True)
        sys.exit(1)
