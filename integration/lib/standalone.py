"""Two clusters without a broker, all of it in one network namespace of the step's own: east's sidecar and gateway, west's gateway
and sidecar, each on a loopback address of its own, snapshots from the suite's objects, SVIDs and roots minted with openssl.

East's app speaks to 127.0.0.1:15080; west's apps listen on 127.0.0.1. `enter()` comes first in a step.
"""
import atexit
import sys

from meshtest import *

WORK = os.environ["SUITE_WORK"]
SIDECAR = ("127.0.0.1", 15080)
NAMES = {
    "web": ("east", "/ns/shop/sa/web"), "gw-east": ("east", "/meshfed/gateway/gw-1"),
    "gw-west": ("west", "/meshfed/gateway/gw-1"), "app": ("west", "/ns/shop/sa/app"),
}
children = []


def enter():
    """Runs the step again inside a network and process namespace that ends with it."""
    if os.environ.get("STANDALONE_INSIDE") == "yes":
        return
    os.environ["STANDALONE_INSIDE"] = "yes"
    os.execvp("unshare", ["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c",
                          "ip link set lo up && exec \"$@\"", "sh", sys.executable,
                          os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def path(name):
    return os.path.join(WORK, name)


def mint():
    for domain in ("east", "west"):
        root = path(f"{domain}-root")
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/O=suite",
             "-keyout", root + ".key", "-out", root + ".pem", "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", f"subjectAltName=URI:spiffe://{domain}.mesh"])
    for name, (domain, identity) in NAMES.items():
        root, own = path(f"{domain}-root"), path(name)
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/O=suite",
             "-keyout", own + ".key", "-out", own + ".csr"])
        with open(own + ".ext", "w") as file:
            file.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
                       f"subjectAltName=URI:spiffe://{domain}.mesh{identity}\n")
        run(["openssl", "x509", "-req", "-in", own + ".csr", "-CA", root + ".pem", "-CAkey", root + ".key", "-CAcreateserial",
             "-days", "1", "-extfile", own + ".ext", "-out", own + ".pem"])
        os.chmod(own + ".key", 0o600)


def start(command, log, **options):
    """A process that ends with the step."""
    process = subprocess.Popen(command, stdout=open(path(log + ".log"), "w"), stderr=subprocess.STDOUT, **options)
    children.append(process)
    return process


@atexit.register
def end():
    for child in children:
        child.kill()


def proxy(name, address, role, *arguments):
    domain = NAMES[name][0]
    command = [PROXY, role, "run", *arguments, "--snapshot", path(f"{domain}.snap"), "--svid", path(f"{name}.pem"), "--key", path(f"{name}.key"),
               "--admin", f"{address}:15000", "--metrics", f"{address}:15020", "--ready", f"{address}:15021", "--log-format", "json",
               "--workers", "1"]
    for other in ("east", "west"):
        command += ["--bundle", f"{other}.mesh={path(other + '-root.pem')}"]
    process = start(command, name)

    def ready():
        if process.poll() is not None:
            raise SystemExit(f"FAILED: {name} ended with {process.returncode}: {log_of(name)[-600:]}")
        return "ready" in log_of(name)
    return process, ready


def log_of(name):
    with open(path(name + ".log"), errors="replace") as file:
        return file.read()


def lines_of(name, **wanted):
    """The access log of a proxy: the entries that have these values."""
    found = []
    for line in log_of(name).split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and ("event" in entry) == ("event" in wanted) and all(entry.get(key) == value for key, value in wanted.items()):
            found.append(entry)
    return found


def up(*tcp, objects="objects"):
    """Starts the four proxies; `tcp` are further `ADDR:PORT=NAME:PORT` of east's sidecar. Their processes by name."""
    mint()
    for cluster in ("east", "west"):
        run([MESHFED, "snapshot", "build", "-f", os.path.join(os.environ["SUITE_DIR"], f"{objects}-{cluster}.yaml"), "--cluster", cluster,
             "-o", path(f"{cluster}.snap")])
    flags = [word for stream in tcp for word in ("--tcp", stream)]
    started = {
        "web": proxy("web", "127.0.1.10", "sidecar", "--workload", "shop/web", "--listen-inbound", "127.0.1.10:15006",
                     "--listen-outbound", "127.0.0.1:15080", "--region", "us-east", "--zone", "us-east-1a", *flags),
        "gw-east": proxy("gw-east", "127.0.1.1", "gateway", "--name", "gw-1", "--listen", "127.0.1.1:15443", "--advertise", "127.0.1.1"),
        "gw-west": proxy("gw-west", "127.0.2.1", "gateway", "--name", "gw-1", "--listen", "127.0.2.1:15443", "--advertise", "127.0.2.1"),
        "app": proxy("app", "127.0.2.10", "sidecar", "--workload", "shop/app", "--listen-inbound", "127.0.2.10:15006",
                     "--listen-outbound", "127.0.0.1:15081"),
    }
    for name, (_, ready) in started.items():
        wait_until(f"{name} is ready", ready, seconds=15)
    return {name: process for name, (process, _) in started.items()}


def alive(processes):
    for name, process in processes.items():
        expect(f"{name} runs", "still", f"ended with {process.poll()}: {log_of(name)[-400:]}", process.poll() is None)
