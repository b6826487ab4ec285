"""The backend and meshfed: their configuration, their start, and the proof that each target does what it is measured for."""

import http.client
import os
import socket
import ssl
import subprocess
import time

from .certificates import TRUST_DOMAIN
from .tools import HERE, BenchError, free_port

MESH_NAME = "backend.bench.svc.clusterset.local"
APP_NAME = "app.bench.svc.clusterset.local"
# What leads a request over each route. For a gateway it is the SNI, whose port selects the Service port of mesh.yaml; for
# sidecars the Host that the app calls.
SNI = {"http2": f"80.{MESH_NAME}", "http1": f"81.{MESH_NAME}", "tcp": f"82.{MESH_NAME}",
       "app-http1": f"80.{APP_NAME}", "app-http2": f"81.{APP_NAME}"}
HOST = {"http2": MESH_NAME, "http1": MESH_NAME, "tcp": MESH_NAME, "app-http1": APP_NAME, "app-http2": f"{APP_NAME}:81"}
# What the backend must have been asked in.
PROTOCOL = {"http2": "HTTP/2.0", "http1": "HTTP/1.1", "tcp": "HTTP/1.1", "app-http1": "HTTP/1.1", "app-http2": "HTTP/2.0"}
SUITE, GROUP = "TLS_AES_128_GCM_SHA256", "X25519"
BODY = ("132 bytes from the backend of the meshfed benchmark. " * 3)[:132]
BODIES = {"1k": 1 << 10, "16k": 1 << 14, "1m": 1 << 20}
LOOPBACK_SERVICES = ["--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ready", "127.0.0.1:0"]
# Where mesh peers dial a sidecar: fixed by the contract (PROTOCOLS).
SIDECAR_PORT = 15006


class Target:
    """A running proxy, or a pair of them: its processes, and port and SNI of each route. `inner` are the ports between a pair."""

    def __init__(self, name, children, ports, sni, inner=None):
        self.name, self.children, self.ports, self.sni = name, children, ports, sni
        self.inner = inner or {}

    @property
    def child(self):
        return self.children[0]

    def cpu(self):
        """Seconds of CPU of all its processes."""
        return sum(child.cpu() for child in self.children)

    def check(self):
        for child in self.children:
            child.check()

    def trim(self):
        for child in self.children:
            child.trim()

    def text(self):
        return "\n".join(child.text() for child in self.children)


class Bench:
    """One run's directory, certificates and ports; starts the backend and meshfed."""

    def __init__(self, fleet, directory, certificates, paths, prefix=()):
        self.fleet, self.directory, self.certificates, self.paths = fleet, directory, certificates, paths
        # A tool every proxy is started under (callgrind), which makes starting slow.
        self.prefix = list(prefix)
        self.patience = 90 if prefix else 15
        self.backend_port, self.status_port = free_port(), free_port()
        self.plain_ports = {"app-http1": free_port(), "app-http2": free_port()}
        # Loopback addresses of this run's sidecars: others may run on this machine.
        self.network = f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"

    def start(self, name, arguments):
        """A proxy, under the prefix."""
        return self.fleet.start(name, [*self.prefix, *arguments])

    def start_backend(self):
        bodies = self.directory / "bodies"
        bodies.mkdir()
        for name, size in BODIES.items():
            (bodies / name).write_bytes(b"meshfed " * (size // 8))
        values = {
            "BACKEND_PORT": self.backend_port, "BODY": BODY, "CERTIFICATES": self.certificates, "DIR": self.directory,
            "GROUP": GROUP, "PLAIN_HTTP1_PORT": self.plain_ports["app-http1"],
            "PLAIN_HTTP2_PORT": self.plain_ports["app-http2"], "STATUS_PORT": self.status_port, "SUITE": SUITE}
        text = (HERE / "nginx.conf").read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / "nginx.conf"
        path.write_text(text)
        self.backend = self.fleet.start("nginx", [self.paths["nginx"], "-p", str(self.directory), "-c", str(path)])
        for port in (self.backend_port, self.status_port, *self.plain_ports.values()):
            self.backend.wait_port(port)

    def answered(self):
        """Requests the backend has answered since its start, this question included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=5)
        try:
            connection.request("GET", "/")
            lines = connection.getresponse().read().decode().splitlines()
            return int(lines[2].split()[2])
        finally:
            connection.close()

    # ---- meshfed

    def build_snapshot(self, manifest=None):
        """mesh.yaml with the run's real ports and addresses (or another manifest), compiled by the public command."""
        snapshot = self.directory / "mesh.snapshot"
        if not manifest:
            manifest = self.directory / "mesh.yaml"
            text = (HERE / "mesh.yaml").read_text().replace("127.77.0.", f"{self.network}.")
            for placeholder, port in (("18443", self.backend_port), ("18080", self.plain_ports["app-http1"]),
                                      ("18081", self.plain_ports["app-http2"])):
                text = text.replace(placeholder, str(port))
            manifest.write_text(text)
        else:
            snapshot = manifest.with_suffix(".snapshot")
        command = [self.paths["meshfed"], "snapshot", "build", "-f", str(manifest), "--cluster", "bench", "-o", str(snapshot)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        return snapshot

    def _papers(self, leaf, snapshot):
        at = self.certificates
        return ["--snapshot", str(snapshot or self.build_snapshot()), "--bundle", f"{TRUST_DOMAIN}={at}/root.pem", "--workers",
                "1", "--svid", f"{at}/{leaf}.pem", "--key", f"{at}/{leaf}.key", *LOOPBACK_SERVICES, "--grace", "1s"]

    def gateway_meshfed(self, snapshot=None):
        port = free_port()
        child = self.start("meshfed", [
            self.paths["meshfed-proxy"], "gateway", "run", "--name", "bench", *self._papers("gateway", snapshot),
            "--listen", f"127.0.0.1:{port}"])
        child.wait_text("gateway: ready", self.patience)
        child.wait_port(port, self.patience)
        routes = ("http2", "http1", "tcp")
        return Target("meshfed", [child], dict.fromkeys(routes, port), {route: SNI[route] for route in routes})

    def duties_meshfed(self):
        """The same as in every scenario: it has no barer way."""
        return self.gateway_meshfed()

    def sidecar(self, workload, inbound="127.0.0.1:0", outbound="127.0.0.1:0", snapshot=None):
        child = self.start(f"sidecar-{workload}", [
            self.paths["meshfed-proxy"], "sidecar", "run", "--workload", f"bench/{workload}", *self._papers(workload, snapshot),
            "--listen-inbound", inbound, "--listen-outbound", outbound])
        child.wait_text("sidecar: ready", self.patience)
        return child

    def sidecars_meshfed(self):
        """The caller's and the app's sidecar."""
        port = free_port()
        destination = self.sidecar("app", inbound=f"{self.network}.1:{SIDECAR_PORT}")
        source = self.sidecar("load", outbound=f"127.0.0.1:{port}")
        return Target("meshfed", [source, destination], dict.fromkeys(("app-http1", "app-http2"), port), {})

    # ---- the proof

    def _ask(self, target, route, path, certificate):
        """(status, body) of one GET by HTTP/1.1 over a route, with TLS where the route has it."""
        connection = http.client.HTTPConnection("127.0.0.1", target.ports[route], timeout=self.patience)
        plain = socket.create_connection(("127.0.0.1", target.ports[route]), timeout=self.patience)
        connection.sock = plain
        try:
            if not route.startswith("app-"):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.check_hostname = False
                context.load_verify_locations(self.certificates / "root.pem")
                if certificate:
                    context.load_cert_chain(self.certificates / "load.pem", self.certificates / "load.key")
                connection.sock = context.wrap_socket(plain, server_hostname=target.sni[route])
            connection.request("GET", path, headers={"Host": HOST[route]})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()
            plain.close()

    def prove(self, target, route):
        """One request: right body, right upstream protocol, and nobody without a certificate comes in."""
        who = f"{target.name}, {route}"
        try:
            status, body = self._ask(target, route, "/", certificate=True)
            if (status, body) != (200, BODY):
                raise BenchError(f"{who}: wanted 200 and the backend's {len(BODY)} bytes, got {status}: {body[:200]!r}")
            _, protocol = self._ask(target, route, "/protocol", certificate=True)
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{who}: a request failed: {error!r}\n{target.text()}") from None
        if protocol != PROTOCOL[route]:
            raise BenchError(f"{who}: the backend was asked in {protocol!r}")
        if route.startswith("app-"):
            self._prove_inner(target, route, who)
            return
        try:
            status, _ = self._ask(target, route, "/", certificate=False)
        except (OSError, http.client.HTTPException):
            return
        raise BenchError(f"{who}: answered {status} to a caller without a certificate; the comparison would be unfair")

    def _prove_inner(self, target, route, who):
        """Between sidecars plain bytes get no answer."""
        place = ("127.0.0.1", target.inner[route]) if target.inner else (f"{self.network}.1", SIDECAR_PORT)
        with socket.create_connection(place, timeout=self.patience) as plain:
            plain.sendall(f"GET / HTTP/1.1\r\nHost: {HOST[route]}\r\n\r\n".encode())
            try:
                answer = plain.recv(1000)
            except OSError:
                return
        if answer.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{who}: answered plain bytes between the sidecars; the comparison would be unfair")


def settle(child, seconds=2):
    """RSS and anonymous memory after the process had time to come to rest."""
    time.sleep(seconds)
    child.check()
    return child.memory()
