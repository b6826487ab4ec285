"""What the steps share: callers inside the pod of east, and a look at every proxy before and after."""
import textwrap

from meshtest import *

t = suite_topology()
NAME = "app.shop.svc.clusterset.local"
PROXIES = ("east/web", "east/gw-1", "west/gw-1", "west/app-1")
CALLER = '''
import hashlib, os, resource, socket, struct, sys, time
NAME = "app.shop.svc.clusterset.local"

def dial(port=15080, timeout=30, window=None):
    s = socket.socket()
    s.settimeout(timeout)
    if window: s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    s.connect(("127.0.0.1", port))
    return s

def request(path, method="GET", extra=""):
    return f"{method} {path} HTTP/1.1\\r\\nhost: {NAME}\\r\\n{extra}\\r\\n".encode()

def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()

def rest(s):
    data = b""
    try:
        while part := s.recv(65536): data += part
    except ConnectionError:
        data += b"<reset>"
    except TimeoutError:
        data += b"<timeout>"
    return data
'''


def caller(code, timeout=120, **options):
    """Runs Python inside east's pod; what it prints."""
    return t.exec("east/web", [PYTHON, "-c", CALLER + textwrap.dedent(code)], timeout=timeout, **options).stdout.strip()


class Proxy:
    def __init__(self, node):
        self.node = node
        self.pid = next(p["pid"] for p in t.report(fresh=True)["processes"]
                        if p["node"] == node and "pid" in p and os.readlink(f"/proc/{p['pid']}/exe").endswith("/meshfed-proxy"))

    def seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def proxies():
    return [Proxy(node) for node in PROXIES]


def quiet(what, seconds=2.0, share=0.2):
    """No proxy works while nobody asks it for anything."""
    all_of_them = proxies()
    before = [p.seconds() for p in all_of_them]
    time.sleep(seconds)
    for proxy, used in zip(all_of_them, before):
        used = proxy.seconds() - used
        expect(f"processor time of {proxy.node} in {seconds} s, {what}", f"under {share * seconds:.1f} s", f"{used:.2f} s", used < share * seconds)


def answers(path="/fast"):
    """The mesh still works."""
    response = t.http("east/web", f"http://{NAME}{path}")
    expect("a call of somebody else", "200", str(response), response.status == 200)
