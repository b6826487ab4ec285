"""What the steps of this suite share: the resolver and the world outside the mesh, both in namespaces without a sidecar."""
import contextlib

from meshtest import *

t = suite_topology()
LOG = os.path.join(os.environ["SUITE_WORK"], "dns.log")
NAME = "reviews.shop.svc.clusterset.local"


def bridge(cluster):
    for network in t.report()["networks"]:
        if network["id"] == f"{cluster}-net":
            return network["address"]


@contextlib.contextmanager
def outside():
    """A resolver on the bridge of east, and an HTTP server in the pod that has no sidecar."""
    resolver = t.popen("east-net", [PYTHON, os.path.join(HERE, "resolver.py"), bridge("east"), LOG, t.address("east/world")],
                       stdout=subprocess.PIPE, text=True)
    server = t.popen("east/world", [PYTHON, "-m", "http.server", "80", "--bind", "::"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        expect("the resolver", "ready", resolver.stdout.readline().strip())
        wait_until("the world's server", lambda: t.curl("east/world", ["http://127.0.0.1/"], check=False).returncode == 0)
        yield
    finally:
        for process in (resolver, server):
            process.kill()
            process.wait()


def get(node, url, *extra, timeout=10):
    """A call by curl that knows of no proxy."""
    return t.http(node, url, *extra, proxy=False, timeout=timeout)


def out(node, *command, check=True, timeout=30, **options):
    return t.exec(node, command, check=check, timeout=timeout, **options).stdout.strip()


def dig(node, *arguments):
    return out(node, "dig", "+tries=1", "+time=12", *arguments).split()


def asked():
    try:
        with open(LOG) as file:
            return file.read()
    except FileNotFoundError:
        return ""
