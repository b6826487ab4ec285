"""Two pods as network namespaces on one wire: the load in one, the app in the other, a pair of proxies between them."""

import ctypes
import json
import os
import subprocess
import time

from .certificates import BACKEND_ID, LOAD_ID, TRUST_DOMAIN
from .tools import BenchError

LOAD_ADDRESS, APP_ADDRESS = "10.77.0.1", "10.77.0.2"
NAME = "backend.bench.svc.cluster.local"
# Ports of the app's server and of the pair of Envoys; `sidecar` is the Service port that leads to the app's port.
PORTS = {
    "http1": {"app": 8080, "direct": 8180, "envoy_in": 18080, "envoy_out": 19080, "sidecar": 80},
    "http2": {"app": 8082, "direct": 8182, "envoy_in": 18082, "envoy_out": 19082, "sidecar": 81},
}
STATUS_PORT = 8090
MARK = "0x539"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

MESH = f"""apiVersion: v1
kind: Service
metadata: {{ name: backend, namespace: bench }}
spec:
  selector: {{ app: backend }}
  ports:
    - {{ name: http1, port: 80, targetPort: 8080, appProtocol: http }}
    - {{ name: http2, port: 81, targetPort: 8082, appProtocol: kubernetes.io/h2c }}
---
apiVersion: meshfed.io/v1alpha1
kind: Workload
metadata: {{ name: backend, namespace: bench, labels: {{ app: backend }} }}
spec: {{ address: {APP_ADDRESS}, serviceAccount: backend, tls: mesh }}
---
apiVersion: meshfed.io/v1alpha1
kind: Workload
metadata: {{ name: load, namespace: bench, labels: {{ app: load }} }}
spec: {{ address: {LOAD_ADDRESS}, serviceAccount: load, tls: mesh }}
---
apiVersion: meshfed.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: backend, namespace: bench }}
spec:
  targetRefs: [{{ kind: Service, name: backend }}]
  action: ALLOW
  rules: [{{ from: {{ ids: ["{LOAD_ID}"] }} }}]
"""


def many(services, endpoints):
    """Files of a mesh of so many services and endpoints in all, and of the workload that it is looked at from."""
    files, parts = [MESH], []
    for service in range(services):
        if len(parts) > 1_000:
            files.append("---\n".join(parts))
            parts = []
        parts.append(f"""apiVersion: v1
kind: Service
metadata: {{ name: service-{service}, namespace: team-{service % 50} }}
spec:
  selector: {{ app: service-{service} }}
  ports: [{{ name: http, port: 80, targetPort: 8080, appProtocol: http }}]
""")
        for number in range(endpoints // services):
            parts.append(f"""apiVersion: meshfed.io/v1alpha1
kind: Workload
metadata: {{ name: service-{service}-{number}, namespace: team-{service % 50}, labels: {{ app: service-{service} }} }}
spec: {{ address: 10.{service // 250 + 100}.{service % 250}.{number + 1}, serviceAccount: service-{service}, tls: mesh }}
""")
    return [*files, "---\n".join(parts)]


class Pods:
    """Makes the namespaces, enters the load's, and starts what runs in both."""

    def __init__(self, fleet, directory, certificates, paths):
        self.fleet, self.directory, self.certificates, self.paths = fleet, directory, certificates, paths
        self.names = [f"mfb-{os.getpid()}-{word}" for word in ("load", "app")]
        self.proxies = {}

    def __enter__(self):
        load, app = self.names
        for name in self.names:
            self._run("ip", "netns", "add", name)
        self._run("ip", "-n", load, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", app)
        for name, address, other in ((load, LOAD_ADDRESS, APP_ADDRESS), (app, APP_ADDRESS, LOAD_ADDRESS)):
            for line in (f"link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up", f"route add default via {other}"):
                self._run("ip", "-n", name, *line.split())
        # The harness and its tools live in the load's pod from here on.
        with open(f"/run/netns/{load}") as file:
            if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise BenchError("cannot enter a network namespace: run it by integration/lib/namespaces")
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _in(self, pod):
        """The words before a command of the app's pod; the load's pod is our own."""
        return [] if pod == "load" else ["nsenter", f"--net=/run/netns/{self.names[1]}"]

    def start_app(self, body):
        """nginx, plain: HTTP/1.1 and HTTP/2 on loopback for the sidecar or Envoy beside it, and on the wire for the direct way."""
        servers = []
        for protocol, ports in PORTS.items():
            word = " http2" if protocol == "http2" else ""
            for listen in (f"127.0.0.1:{ports['app']}", f"{APP_ADDRESS}:{ports['direct']}"):
                servers.append(f"server {{ listen {listen}{word} backlog=4096; location / {{ return 200 \"{body}\"; }} }}")
        servers.append(f"server {{ listen {APP_ADDRESS}:{STATUS_PORT}; location / {{ stub_status; }} }}")
        temporary = "".join(f"{kind}_temp_path {self.directory}/nginx-{kind};"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        path = self.directory / "app.conf"
        path.write_text(f"""daemon off; master_process off; worker_processes 1; pid {self.directory}/app.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{ access_log off; {temporary} keepalive_timeout 600s; keepalive_requests 1000000000; http2_max_concurrent_streams 512;
{chr(10).join(servers)}
}}
""")
        self.app = self.fleet.start("app", [*self._in("app"), self.paths["nginx"], "-p", str(self.directory), "-c", str(path)])
        self._wait(self.app, APP_ADDRESS, STATUS_PORT)

    def _wait(self, child, host, port):
        import socket
        end = time.monotonic() + 15
        while time.monotonic() < end:
            child.check()
            try:
                return socket.create_connection((host, port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
        raise BenchError(f"{child.name} did not listen on {host}:{port}:\n{child.text()}")

    def snapshot(self, name, files):
        folder, snapshot = self.directory / f"{name}.d", self.directory / f"{name}.snapshot"
        folder.mkdir()
        for number, text in enumerate(files):
            (folder / f"{number}.yaml").write_text(text)
        self._run(self.paths["meshfed"], "snapshot", "build", "-f", str(folder), "--cluster", "bench", "-o", str(snapshot))
        return snapshot

    def start_sidecars(self):
        """The pair, transparent in both pods; the load's may also be asked by its explicit listener."""
        snapshot = self.snapshot("pair", [MESH])
        left_out = [str(ports[key]) for ports in PORTS.values() for key in ("direct", "envoy_in")] + [str(STATUS_PORT)]
        children = []
        for pod, workload in (("load", "load"), ("app", "backend")):
            self._run(*self._in(pod), self.paths["meshfed-proxy"], "redirect", "--apply", "--mark", MARK,
                      "--exclude-outbound-ports", ",".join(left_out), "--exclude-inbound-ports", ",".join(left_out))
            children.append(self.start_sidecar(pod, workload, snapshot))
        self.proxies["meshfed"] = children
        answer = self._run("dig", "+short", "-p", "15053", "@127.0.0.1", NAME).split()
        if len(answer) != 1:
            raise BenchError(f"the sidecar's DNS does not know {NAME}: {answer}")
        self.virtual = answer[0]

    def start_sidecar(self, pod, workload, snapshot, name=None):
        certificate = f"{self.certificates}/{'load' if workload == 'load' else 'backend'}"
        child = self.fleet.start(name or f"sidecar-{pod}", [
            *self._in(pod), self.paths["meshfed-proxy"], "sidecar", "run", "--workload", f"bench/{workload}",
            "--snapshot", str(snapshot), "--bundle", f"{TRUST_DOMAIN}={self.certificates}/root.pem", "--workers", "1",
            "--svid", f"{certificate}.pem", "--key", f"{certificate}.key", "--capture", "--dns", "--mark", MARK, "--grace", "1s"])
        child.wait_text("sidecar: ready")
        return child

    def start_envoys(self):
        """plain → mTLS with HTTP/2 → plain, --concurrency 1, no access log, defaults otherwise."""
        children = []
        for pod, maker in (("app", self._envoy_in), ("load", self._envoy_out)):
            path = self.directory / f"envoy-{pod}.json"
            listeners, clusters = zip(*(maker(protocol, ports) for protocol, ports in PORTS.items()))
            path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}, indent=1))
            children.append(self.fleet.start(f"envoy-{pod}", [
                *self._in(pod), self.paths["envoy"], "-c", str(path), "--concurrency", "1", "--disable-hot-restart",
                "--base-id", "1" if pod == "app" else "2", "--log-level", "warning"]))
        self._wait(children[0], APP_ADDRESS, PORTS["http1"]["envoy_in"])
        self._wait(children[1], "127.0.0.1", PORTS["http1"]["envoy_out"])
        self.proxies["envoy"] = children

    def _envoy_in(self, protocol, ports):
        tls = self._tls("DownstreamTlsContext", "backend", LOAD_ID)
        tls["typed_config"] |= {"require_client_certificate": True, "disable_stateless_session_resumption": True,
                                "disable_stateful_session_resumption": True}
        return (self._listener(protocol, APP_ADDRESS, ports["envoy_in"], tls),
                self._cluster(protocol, "127.0.0.1", ports["app"], protocol))

    def _envoy_out(self, protocol, ports):
        tls = self._tls("UpstreamTlsContext", "load", BACKEND_ID)
        tls["typed_config"] |= {"sni": NAME, "max_session_keys": 0}
        return (self._listener(protocol, "127.0.0.1", ports["envoy_out"]),
                self._cluster(protocol, APP_ADDRESS, ports["envoy_in"], "http2") | {"transport_socket": tls})

    def _tls(self, kind, own, peer):
        return {"name": "tls", "typed_config": {
            "@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{"certificate_chain": {"filename": f"{self.certificates}/{own}.pem"},
                                      "private_key": {"filename": f"{self.certificates}/{own}.key"}}],
                "validation_context": {
                    "trusted_ca": {"filename": f"{self.certificates}/root.pem"},
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}]}}}}

    def _listener(self, name, address, port, tls=None):
        chain = {"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name, "codec_type": "AUTO",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": name}}]}]},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}
        if tls:
            chain["transport_socket"] = tls
        return {"name": name, "address": self._address(address, port), "filter_chains": [chain]}

    def _cluster(self, name, address, port, protocol):
        options = {"http2_protocol_options": {}} if protocol == "http2" else {"http_protocol_options": {}}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": options}},
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": self._address(address, port)}}]}]}}

    @staticmethod
    def _address(address, port):
        return {"socket_address": {"address": address, "port_value": port}}

    def url(self, target, protocol):
        ports = PORTS[protocol]
        return {
            "direct": f"http://{APP_ADDRESS}:{ports['direct']}/",
            "captured": f"http://{getattr(self, 'virtual', '')}:{ports['sidecar']}/",
            "explicit": "http://127.0.0.1:15080/",
            "envoy": f"http://127.0.0.1:{ports['envoy_out']}/",
        }[target]

    def authority(self, protocol):
        """The service's own name; the explicit listener needs the port too."""
        port = PORTS[protocol]["sidecar"]
        return NAME if port == 80 else f"{NAME}:{port}"

    def cpu(self, target):
        """Seconds of both proxies of the pair since their start; the direct way has none."""
        return sum(child.cpu() for child in self.proxies.get("meshfed" if target in ("captured", "explicit") else target, []))
