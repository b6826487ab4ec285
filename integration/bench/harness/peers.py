"""HAProxy, Envoy and nghttpx as gateways, HAProxy and Envoy as pairs of sidecars: one worker each, mutual TLS 1.3; bare (no log, no
rules), and as gateways also with the duties of a mesh."""

import json

from . import envoy
from .certificates import APP_ID, BACKEND_ID, LOAD_ID
from .targets import GROUP, SNI, SUITE, Target
from .tools import free_port

_HAPROXY = """
global
    nbthread 1
    maxconn 8000
    tune.ssl.cachesize 0
    tune.h2.max-concurrent-streams 512
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
    ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
    ssl-default-bind-ciphersuites {suite}
    ssl-default-server-ciphersuites {suite}
    ssl-default-bind-curves {group}
defaults
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
"""


class Peers:
    """Starts the peers of one Bench."""

    def __init__(self, bench):
        self.bench = bench

    # ---- HAProxy. No sni towards the backend: with verify required it would be held against the names of a certificate that
    #      has a URI SAN only.

    def _haproxy(self, name, sections):
        path = self.bench.directory / f"{name}.cfg"
        path.write_text(_HAPROXY.format(suite=SUITE, group=GROUP) + sections)
        return self.bench.start(name, [self.bench.paths["haproxy"], "-db", "-f", str(path)])

    def _haproxy_tls(self, leaf):
        at = self.bench.certificates
        return f"ssl crt {at}/{leaf}.combined.pem ca-file {at}/root.pem verify required"

    def _haproxy_way(self, name, mode, port, bind, upstream, server):
        return (f"frontend {name}\n    mode {mode}\n    bind 127.0.0.1:{port} {bind}\n    default_backend {name}\n"
                f"backend {name}\n    mode {mode}\n    server upstream 127.0.0.1:{upstream} {server}\n")

    def gateway_haproxy(self):
        ports = {route: free_port() for route in ("http2", "http1", "tcp")}
        tls, backend = self._haproxy_tls("gateway"), self.bench.backend_port
        child = self._haproxy("haproxy", "".join([
            self._haproxy_way("http2", "http", ports["http2"], f"{tls} alpn h2,http/1.1", backend, f"{tls} no-ssl-reuse alpn h2"),
            self._haproxy_way("http1", "http", ports["http1"], f"{tls} alpn h2,http/1.1", backend,
                              f"{tls} no-ssl-reuse alpn http/1.1"),
            self._haproxy_way("tcp", "tcp", ports["tcp"], tls, backend, f"{tls} no-ssl-reuse")]))
        return self._ready("haproxy", [child], ports)

    def duties_haproxy(self):
        """With a JSON log line, one rule of authorisation, a rate limit, and the caller's identity in a header. HAProxy 2.6 reads no URI
        SAN: the caller is who the subject says."""
        ports = {"http2": free_port()}
        tls = self._haproxy_tls("gateway")
        fields = {"time": "%t", "method": "%HM", "path": "%HP", "authority": "%[capture.req.hdr(0)]", "request_protocol": "%HV",
                  "response_code": "%ST", "response_flags": "%tsc", "source_principal": "%[ssl_c_s_dn(cn)]",
                  "server_name": "%[ssl_fc_sni]", "upstream_host": "%si:%sp", "upstream_cluster": "%b",
                  "downstream_remote_address": "%ci:%cp", "bytes_received": "%U", "bytes_sent": "%B", "duration": "%Ta",
                  "request_id": "%ID", "user_agent": "%[capture.req.hdr(1)]"}
        line = json.dumps(fields, separators=(",", ":")).replace("\\", "\\\\").replace('"', '\\"').replace(" ", "\\ ")
        child = self._haproxy("haproxy-duties", (
            f"frontend http2\n    mode http\n    bind 127.0.0.1:{ports['http2']} {tls} alpn h2,http/1.1\n"
            f"    log stdout format raw local0\n    log-format {line}\n"
            "    unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n    unique-id-header x-request-id\n"
            "    http-request capture req.hdr(host) len 64\n    http-request capture req.hdr(user-agent) len 64\n"
            "    stick-table type string len 64 size 10k expire 60s store http_req_rate(1s)\n"
            "    http-request track-sc0 ssl_c_s_dn(cn)\n    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }\n"
            "    http-request deny unless { ssl_c_verify 0 } { ssl_c_s_dn(cn) -m found }\n"
            "    http-request set-header x-forwarded-client-cert %[ssl_c_s_dn]\n    default_backend http2\n"
            f"backend http2\n    mode http\n    server upstream 127.0.0.1:{self.bench.backend_port} {tls} no-ssl-reuse alpn h2\n"))
        return self._ready("haproxy", [child], ports)

    def sidecars_haproxy(self):
        ports, inner, bench = {r: free_port() for r in ("app-http1", "app-http2")}, {}, self.bench
        inner = {route: free_port() for route in ports}
        source, destination = self._haproxy_tls("load"), self._haproxy_tls("app")
        first = self._haproxy("haproxy-source", "".join(
            self._haproxy_way(route, "http", port, "", inner[route], f"{source} no-ssl-reuse alpn h2")
            for route, port in ports.items()))
        second = self._haproxy("haproxy-destination", "".join(
            self._haproxy_way(route, "http", port, f"{destination} alpn h2,http/1.1", bench.plain_ports[route],
                              "proto h2" if route == "app-http2" else "")
            for route, port in inner.items()))
        return self._ready("haproxy", [first, second], ports, inner)

    # ---- Envoy

    def _envoy(self, name, listeners, clusters):
        path = self.bench.directory / f"{name}.json"
        path.write_text(json.dumps(envoy.configuration(listeners, clusters), indent=1))
        return self.bench.start(name, [
            self.bench.paths["envoy"], "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])

    def _envoy_server(self, leaf, alpn=("h2", "http/1.1")):
        return envoy.server_tls(self.bench.certificates, leaf, GROUP, list(alpn))

    def _envoy_client(self, leaf, alpn, sni, peer):
        return envoy.client_tls(self.bench.certificates, leaf, GROUP, alpn, sni, peer)

    def gateway_envoy(self):
        ports = {route: free_port() for route in ("http2", "http1", "tcp")}
        alpn = {"http2": ["h2"], "http1": ["http/1.1"], "tcp": []}
        listeners = [
            envoy.tcp_listener(r, p, r, self._envoy_server("gateway", ())) if r == "tcp" else
            envoy.http_listener(r, p, r, self._envoy_server("gateway")) for r, p in ports.items()]
        clusters = [envoy.cluster(r, self.bench.backend_port, r, self._envoy_client("gateway", alpn[r], SNI["http2"], BACKEND_ID))
                    for r in ports]
        return self._ready("envoy", [self._envoy("envoy", listeners, clusters)], ports)

    def duties_envoy(self):
        ports = {"http2": free_port()}
        duties = envoy.mesh_duties(self.bench.directory / "envoy-duties.access.log", LOAD_ID)
        child = self._envoy(
            "envoy-duties", [envoy.http_listener("http2", ports["http2"], "http2", self._envoy_server("gateway"), duties)],
            [envoy.cluster("http2", self.bench.backend_port, "http2", self._envoy_client("gateway", ["h2"], SNI["http2"], BACKEND_ID))])
        return self._ready("envoy", [child], ports)

    def sidecars_envoy(self):
        ports = {route: free_port() for route in ("app-http1", "app-http2")}
        inner = {route: free_port() for route in ports}
        first = self._envoy(
            "envoy-source", [envoy.http_listener(r, p, r) for r, p in ports.items()],
            [envoy.cluster(r, p, "http2", self._envoy_client("load", ["h2"], SNI["app-http1"], APP_ID)) for r, p in inner.items()])
        second = self._envoy(
            "envoy-destination", [envoy.http_listener(r, p, r, self._envoy_server("app")) for r, p in inner.items()],
            [envoy.cluster(r, self.bench.plain_ports[r], r.removeprefix("app-")) for r in inner])
        return self._ready("envoy", [first, second], ports, inner)

    # ---- nghttpx: HTTP/2 upstream only. Its check of the backend's name knows no URI SAN and is off; it is no handshake scenario.

    def gateway_nghttpx(self):
        ports, at = {"http2": free_port()}, self.bench.certificates
        child = self.bench.start("nghttpx", [
            self.bench.paths["nghttpx"], "--conf=/dev/null", "--workers=1", "--single-process",
            f"--frontend=127.0.0.1,{ports['http2']}", f"--backend=127.0.0.1,{self.bench.backend_port};;proto=h2;tls",
            "--insecure", f"--client-cert-file={at}/gateway.pem", f"--client-private-key-file={at}/gateway.key",
            "--verify-client", f"--verify-client-cacert={at}/root.pem", f"--cacert={at}/root.pem",
            "--tls-min-proto-version=TLSv1.3", "--tls-max-proto-version=TLSv1.3", f"--tls13-ciphers={SUITE}",
            f"--tls13-client-ciphers={SUITE}", f"--ecdh-curves={GROUP}", "--no-ocsp", "--frontend-http2-max-concurrent-streams=512",
            "--backend-http2-max-concurrent-streams=512", "--no-server-push", f"{at}/gateway.key", f"{at}/gateway.pem"])
        return self._ready("nghttpx", [child], ports)

    def _ready(self, name, children, ports, inner=None):
        for port in [*ports.values(), *(inner or {}).values()]:
            for child in children:
                child.check()
            children[-1].wait_port(port, self.bench.patience)
        return Target(name, children, ports, dict.fromkeys(ports, SNI["http2"]), inner or {})
