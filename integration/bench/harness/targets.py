"""The backend, meshfed and its peers: their configuration, their start, and the proof that each does what it is measured for."""

import http.client
import ssl
import subprocess
import time

from .certificates import BACKEND_ID, TRUST_DOMAIN
from .tools import HERE, BenchError, free_port

MESH_NAME = "backend.bench.svc.clusterset.local"
# The SNI's port selects the Service port of mesh.yaml: 80 is HTTP/2 upstream, 81 keeps what the load speaks.
SNI = {"http2": f"80.{MESH_NAME}", "http1": f"81.{MESH_NAME}"}
PROTOCOL = {"http2": "HTTP/2.0", "http1": "HTTP/1.1"}
SUITE, GROUP = "TLS_AES_128_GCM_SHA256", "X25519"
BODY = ("132 bytes from the backend of the meshfed benchmark. " * 3)[:132]
LOOPBACK_SERVICES = ["--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ready", "127.0.0.1:0"]


class Target:
    """A running proxy: one process, and the port and SNI that lead to each kind of upstream leg."""

    def __init__(self, name, child, ports, sni):
        self.name, self.child, self.ports, self.sni = name, child, ports, sni


class Bench:
    """One run's directory, certificates and ports; starts the backend and the targets."""

    def __init__(self, fleet, directory, certificates, paths, prefix=()):
        self.fleet, self.directory, self.certificates, self.paths = fleet, directory, certificates, paths
        # A tool every proxy is started under (callgrind), which makes starting slow.
        self.prefix = list(prefix)
        self.patience = 90 if prefix else 15
        self.backend_port, self.status_port = free_port(), free_port()

    def _fill(self, name, **values):
        text = (HERE / name).read_text()
        values |= {
            "BACKEND_ID": BACKEND_ID, "BACKEND_PORT": self.backend_port, "BODY": BODY, "CERTIFICATES": self.certificates,
            "DIR": self.directory, "GROUP": GROUP, "SNI": SNI["http2"], "STATUS_PORT": self.status_port, "SUITE": SUITE,
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def start_backend(self):
        self.backend = self.fleet.start(
            "nginx", [self.paths["nginx"], "-p", str(self.directory), "-c", self._fill("nginx.conf")])
        self.backend.wait_port(self.backend_port)
        self.backend.wait_port(self.status_port)

    def answered(self):
        """Requests the backend has answered since its start, this question included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=5)
        try:
            connection.request("GET", "/")
            lines = connection.getresponse().read().decode().splitlines()
            return int(lines[2].split()[2])
        finally:
            connection.close()

    def start_haproxy(self):
        ports = {"http2": free_port(), "http1": free_port()}
        path = self._fill("haproxy.cfg", HTTP2_PORT=ports["http2"], HTTP1_PORT=ports["http1"])
        child = self.fleet.start("haproxy", [*self.prefix, self.paths["haproxy"], "-db", "-f", path])
        for port in ports.values():
            child.wait_port(port, self.patience)
        return Target("haproxy", child, ports, dict.fromkeys(SNI, SNI["http2"]))

    def start_envoy(self):
        ports = {"http2": free_port(), "http1": free_port()}
        path = self._fill("envoy.yaml", HTTP2_PORT=ports["http2"], HTTP1_PORT=ports["http1"])
        child = self.fleet.start("envoy", [
            *self.prefix, self.paths["envoy"], "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level",
            "warning"])
        for port in ports.values():
            child.wait_port(port, self.patience)
        return Target("envoy", child, ports, dict.fromkeys(SNI, SNI["http2"]))

    def build_snapshot(self):
        """mesh.yaml with the backend's real port, compiled by the public command."""
        manifest, snapshot = self.directory / "mesh.yaml", self.directory / "mesh.snapshot"
        manifest.write_text((HERE / "mesh.yaml").read_text().replace("18443", str(self.backend_port)))
        command = [self.paths["meshfed"], "snapshot", "build", "-f", str(manifest), "--cluster", "bench", "-o", str(snapshot)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        return ["--snapshot", str(snapshot), "--bundle", f"{TRUST_DOMAIN}={self.certificates}/root.pem", "--workers", "1"]

    def start_meshfed(self):
        port = free_port()
        child = self.fleet.start("meshfed", [
            *self.prefix, self.paths["meshfed-proxy"], "gateway", "run", "--name", "bench", *self.build_snapshot(),
            "--svid", f"{self.certificates}/gateway.pem", "--key", f"{self.certificates}/gateway.key",
            "--listen", f"127.0.0.1:{port}", *LOOPBACK_SERVICES, "--grace", "1s"])
        child.wait_text("gateway: ready", self.patience)
        child.wait_port(port, self.patience)
        return Target("meshfed", child, {"http2": port, "http1": port}, dict(SNI))

    def start_sidecar(self):
        child = self.fleet.start("sidecar", [
            self.paths["meshfed-proxy"], "sidecar", "run", "--workload", "bench/idle", *self.build_snapshot(),
            "--svid", f"{self.certificates}/idle.pem", "--key", f"{self.certificates}/idle.key",
            "--listen-inbound", "127.0.0.1:0", "--listen-outbound", "127.0.0.1:0", *LOOPBACK_SERVICES, "--grace", "1s"])
        child.wait_text("sidecar: ready")
        return child

    def _ask(self, target, upstream, path, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_verify_locations(self.certificates / "root.pem")
        if certificate:
            context.load_cert_chain(self.certificates / "load.pem", self.certificates / "load.key")
        connection = http.client.HTTPSConnection("127.0.0.1", target.ports[upstream], timeout=self.patience)
        plain = http.client.socket.create_connection(("127.0.0.1", target.ports[upstream]), timeout=self.patience)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=target.sni[upstream])
            connection.request("GET", path, headers={"Host": MESH_NAME})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()
            plain.close()

    def prove(self, target, upstream):
        """One request each way: right body, right upstream protocol, and nobody without a certificate comes in."""
        who = f"{target.name}, {PROTOCOL[upstream]} upstream"
        try:
            status, body = self._ask(target, upstream, "/", certificate=True)
            if (status, body) != (200, BODY):
                raise BenchError(f"{who}: wanted 200 and the backend's {len(BODY)} bytes, got {status}: {body[:200]!r}")
            _, protocol = self._ask(target, upstream, "/protocol", certificate=True)
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{who}: a request over mutual TLS 1.3 failed: {error!r}\n{target.child.text()}") from None
        if protocol != PROTOCOL[upstream]:
            raise BenchError(f"{who}: the backend was asked in {protocol!r}")
        try:
            status, _ = self._ask(target, upstream, "/", certificate=False)
        except (OSError, http.client.HTTPException):
            return
        raise BenchError(f"{who}: answered {status} to a caller without a certificate; the comparison would be unfair")


def settle(child, seconds=2):
    """RSS and anonymous memory after the process had time to come to rest."""
    time.sleep(seconds)
    child.check()
    return child.memory()
