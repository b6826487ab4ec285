"""Memory: of a process at rest, of each connection that idles, of a large snapshot."""

import json
import os
import resource
import select
import subprocess
import time

from .processes import die_with_parent
from .targets import GROUP, HOST, SUITE, settle
from .tools import BenchError

# PERFORMANCE: 1,000 services with 10,000 endpoints.
SERVICES, ENDPOINTS_EACH = 1000, 10


def raise_file_limit():
    """Proxies inherit it: thousands of idle connections are thousands of descriptors on either side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, 1048576), hard))


def _route(kind):
    return "tcp" if kind == "tcp" else "http2"


def _held(bench, peer, target, kind, count, seconds):
    """Anonymous KB that `target` grew by for `count` connections that each made one request and then idle."""
    route = _route(kind)
    environment = dict(
        os.environ, BENCH_CHAIN=f"{bench.certificates}/load.pem", BENCH_KEY=f"{bench.certificates}/load.key", BENCH_SUITE=SUITE,
        BENCH_GROUP=GROUP, BENCH_SNI=target.sni[route], BENCH_HOST=HOST[route])
    before = target.child.anonymous()
    holder = subprocess.Popen(
        [peer, "hold", str(target.ports[route]), kind, str(count)], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
    try:
        ready, _, _ = select.select([holder.stdout], [], [], 60)
        line = holder.stdout.readline().decode() if ready else ""
        if not line.startswith("{"):
            holder.kill()
            raise BenchError(f"{target.name}, {kind}: {count} connections could not be held: {holder.communicate()[1].decode()[-500:]}")
        if json.loads(line)["holding"] != count:
            raise BenchError(f"{target.name}, {kind}: not all of {count} connections are held")
        time.sleep(seconds)
        target.check()
        return target.child.anonymous() - before
    finally:
        holder.kill()
        holder.communicate()


def idle_connections(bench, peer, start, target_name, kind, count, seconds):
    """KB of anonymous memory per idle connection of a fresh process."""
    target = start()
    try:
        # The first connections make pools, contexts and tables that are no connection's own.
        bench.prove(target, _route(kind))
        _held(bench, peer, target, kind, min(5, count), 0.2)
        time.sleep(0.3)
        return round(_held(bench, peer, target, kind, count, seconds) / count, 1)
    finally:
        for child in target.children:
            bench.fleet.stop(child)


def large_manifests(directory):
    """A folder with 1,000 exported services of 10 endpoints each, in files below the limit of one, and the workload `idle`."""
    directory.mkdir()
    for start in range(0, SERVICES, 100):
        documents = list(_services(range(start, start + 100)))
        # JSON is YAML.
        (directory / f"{start:04}.yaml").write_text("\n---\n".join(json.dumps(document) for document in documents) + "\n")
    own = {"apiVersion": "meshfed.io/v1alpha1", "kind": "Workload", "metadata": {"name": "idle", "namespace": "bench"},
           "spec": {"address": "127.77.0.3", "serviceAccount": "idle", "tls": "mesh"}}
    (directory / "idle.yaml").write_text(json.dumps(own) + "\n")


def _services(numbers):
    for service in numbers:
        name = f"service-{service:04}"
        meta = {"name": name, "namespace": "bench"}
        yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}]}}
        yield {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport", "metadata": meta}
        for endpoint in range(ENDPOINTS_EACH):
            number = service * ENDPOINTS_EACH + endpoint
            yield {"apiVersion": "meshfed.io/v1alpha1", "kind": "Workload",
                   "metadata": {"name": f"{name}-{endpoint}", "namespace": "bench", "labels": {"app": name}},
                   "spec": {"address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "serviceAccount": name,
                            "tls": "mesh", "locality": f"region-{endpoint % 2}/zone-{endpoint % 4}"}}


def large_snapshot(bench, seconds=2):
    """{"sidecar", "gateway", "probing"}: RSS and anonymous MB with 10,000 endpoints in the snapshot; "probing" is the gateway
    some seconds later, when it has asked hundreds of them in vain."""
    manifests = bench.directory / "large"
    large_manifests(manifests)
    snapshot = bench.build_snapshot(manifests)
    found = {"services": SERVICES, "endpoints": SERVICES * ENDPOINTS_EACH, "snapshotKB": snapshot.stat().st_size >> 10}
    for name, start in (("sidecar", lambda: bench.sidecar("idle", snapshot=snapshot)),
                        ("gateway", lambda: bench.gateway_meshfed(snapshot).child)):
        child = start()
        found[name], found[f"{name}Anonymous"] = settle(child, seconds)
        if name == "gateway":
            found["probing"], found["probingAnonymous"] = settle(child, 4)
        bench.fleet.stop(child)
    return found

