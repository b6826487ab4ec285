"""What is measured: every scenario with its load, its way through the proxies, and what PERFORMANCE asks of it."""

from dataclasses import dataclass, field

# Names of the peers as the table and latest.json write them.
PEERS = {"haproxy": "HAProxy", "envoy": "Envoy", "nghttpx": "nghttpx"}
TARGETS = ["meshfed", *PEERS]
HTTP_PEERS = ("haproxy", "envoy", "nghttpx")
BOTH = ("haproxy", "envoy")

# Open-loop rate and connections of `latency`.
RATE, RATE_CONNECTIONS = 1000, 16


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `route` is the way through the proxies (targets.ROUTES); `connections` carry `streams` requests each at a time (1 = HTTP/1.1
    keep-alive); `unit` says what a figure counts; `must` and `aim` are the most that meshfed may cost as a share of a peer.
    """

    name: str
    tool: str
    connections: int
    streams: int
    route: str
    path: str = "/"
    unit: str = "µs/request"
    peers: tuple = BOTH
    must: dict = field(default_factory=dict)
    aim: dict = field(default_factory=dict)
    quick: bool = True
    # Part of the seconds that a measurement takes.
    share: float = 1.0
    # The peers log, authorise, limit and say who calls, as meshfed always does; elsewhere they are bare.
    duties: bool = False

    @property
    def group(self):
        return "duties" if self.duties else "sidecars" if self.route.startswith("app-") else "gateway"


def _sizes():
    for size, connections, streams in (("1k", 32, 1), ("16k", 32, 1), ("1m", 8, 1)):
        yield Scenario(f"gateway-http1-{size}", "wrk", connections, 1, "http2", f"/{size}", quick=False, share=1 / 3)
    for size, connections, streams in (("1k", 8, 32), ("16k", 8, 32), ("1m", 4, 2)):
        yield Scenario(f"gateway-http2-{size}", "h2load", connections, streams, "http2", f"/{size}", quick=False, share=1 / 3)


# What PERFORMANCE asks of a request with everything on. Of bare peers it is asked too, which do less.
_MUST, _AIM = {"haproxy": 1.0, "envoy": 0.5}, {"haproxy": 0.85, "envoy": 0.4}

SCENARIOS = [
    Scenario("gateway-http1", "wrk", 32, 1, "http2", peers=HTTP_PEERS,
             must=_MUST, aim=_AIM),
    Scenario("gateway-http2", "h2load", 8, 32, "http2", peers=HTTP_PEERS,
             must={"nghttpx": 1.0, "envoy": 0.5}, aim={"haproxy": 1.0}),
    Scenario("gateway-http2-single", "h2load", 32, 1, "http2", peers=HTTP_PEERS,
             must=_MUST, aim=_AIM),
    Scenario("gateway-http1-duties", "wrk", 32, 1, "http2", must=_MUST, aim=_AIM, duties=True, quick=False),
    Scenario("gateway-http2-duties", "h2load", 8, 32, "http2", must=_MUST, aim=_AIM, duties=True, quick=False),
    Scenario("gateway-http2-single-duties", "h2load", 32, 1, "http2", must=_MUST, aim=_AIM, duties=True, quick=False),
    Scenario("gateway-http1-upstream-http1", "wrk", 32, 1, "http1", quick=False),
    Scenario("gateway-tcp", "wrk", 32, 1, "tcp", "/1k", "µs/round trip", must={"haproxy": 1.0}, aim={"envoy": 1.0}),
    Scenario("gateway-tcp-bulk", "wrk", 8, 1, "tcp", "/1m", "µs/MiB", must={"haproxy": 0.85}, aim={"envoy": 1.0}),
    Scenario("gateway-handshake", "handshakes", 1, 1, "http2", unit="µs/handshake",
             must={"haproxy": 0.8}, aim={"haproxy": 0.65, "envoy": 1.0}),
    Scenario("sidecars-http1", "wrk", 32, 1, "app-http1", must={"envoy": 0.5}, aim={"envoy": 0.4}),
    Scenario("sidecars-http2", "h2load", 8, 32, "app-http2", must={"envoy": 0.5}, aim={"envoy": 0.4}),
    Scenario("latency", "latency", RATE_CONNECTIONS, 1, "http2", unit="µs, p50",
             must={"haproxy": 1.0}, aim={"haproxy": 0.8}),
    *_sizes(),
]
# Memory of connections that idle: measured once per round by memory.py, not by a load. Limits are KB per connection.
IDLE = "idle-connections"
IDLE_SERIES = ("http1", "http2", "tcp")
# A relayed TCP connection is two connections in the proxy, one on either side.
IDLE_MUST = {"http1": 30, "http2": 55, "tcp": 60}
IDLE_AIM = {"http1": 20, "http2": 40, "tcp": 40}
NAMES = [*(scenario.name for scenario in SCENARIOS), IDLE]
