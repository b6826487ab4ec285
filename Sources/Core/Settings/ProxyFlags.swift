/// The flags of meshfed-proxy, each described once.
enum ProxyFlags {
    static let gateway = FlagTable(
        program: ProxyCommand.program, command: "gateway run",
        purpose: "terminates the mTLS that comes to a cluster's edge and originates it anew",
        flags: [
            FlagDescription(
                "name", "NAME", example: "gw-1", "The gateway's name in its cluster; part of its identity."),
            FlagDescription(
                "listen", "ADDR:PORT", default: "[::]:15443", example: "[::]:15443", "East-west mTLS."),
            FlagDescription(
                "advertise", "HOST[:PORT]", example: "203.0.113.10:15443",
                "The address that other clusters' gateways dial; the port is that of --listen where it is left out."),
        ] + shared,
        examples: [
            "meshfed token create --for gateway --name gw-1 | meshfed-proxy gateway run --name gw-1 --state-dir /var/lib/meshfed/gw-1 --advertise 203.0.113.10 -",
            "meshfed-proxy gateway run --name gw-1 --snapshot east.snapshot --svid gw-1.pem --key gw-1.key --bundle east.mesh=east.pem",
        ], takesDash: true)

    static let sidecar = FlagTable(
        program: ProxyCommand.program, command: "sidecar run",
        purpose: "gives one workload its identity and mTLS, inbound and outbound",
        flags: [
            FlagDescription("workload", "NAMESPACE/NAME", example: "shop/web-1", "The Workload that it stands beside."),
            FlagDescription(
                "listen-inbound", "ADDR:PORT", default: "[::]:15006", example: "[::]:15006", "mTLS of mesh peers."),
            FlagDescription(
                "listen-outbound", "ADDR:PORT,…", default: "127.0.0.1:15080,[::1]:15080", example: "127.0.0.1:15080",
                "Forward proxy for the app, to mesh names only; loopback only."),
            FlagDescription(
                "tcp", "ADDR:PORT=NAME:PORT", repeats: true, example: "127.0.0.1:3306=mysql.default:3306",
                "A loopback listener whose streams go to one mesh name."),
            FlagDescription(
                "inbound-plain", "ADDR:PORT=APPPORT", repeats: true, example: "0.0.0.0:8080=8080",
                "Takes plaintext for an app port, where the service's mTLS mode is permissive."),
            FlagDescription(
                "app-address", "ADDRESS", default: "127.0.0.1", example: "127.0.0.1", "Where the app listens."),
            FlagDescription(
                "capture", nil, "Takes what the rules of meshfed-proxy redirect send here, inbound and outbound."),
            FlagDescription(
                "listen-captured", "ADDR:PORT,…", default: "127.0.0.1:15001,[::1]:15001", example: "127.0.0.1:15001",
                "With --capture: redirected outbound; loopback only."),
            FlagDescription("dns", nil, "Answers DNS for mesh names and forwards the rest."),
            FlagDescription(
                "listen-dns", "ADDR:PORT,…", default: "127.0.0.1:15053,[::1]:15053", example: "127.0.0.1:15053",
                "With --dns: UDP and TCP; loopback only."),
            FlagDescription(
                "resolv-conf", "FILE", default: "/etc/resolv.conf", example: "/etc/resolv.conf",
                "With --dns: the resolvers that other names go to."),
            FlagDescription(
                "mark", "NUMBER", example: "0x539", "SO_MARK of its own sockets, for redirect --mark."),
            FlagDescription(
                "probe", "PORT/PATH", repeats: true, example: "8080/healthz",
                "A path that may be asked by GET in plaintext without identity, whatever the mTLS mode."),
            FlagDescription(
                "drain", "DURATION", default: "0s, with --capture 30s", example: "30s",
                "How long after SIGTERM outbound goes on while the app still has a connection or a listener, 0s to 1h."),
        ] + shared,
        examples: [
            "meshfed-proxy sidecar run --workload shop/web-1 --state-dir /var/lib/meshfed/web-1 --token-file /run/token",
            "meshfed-proxy sidecar run --workload shop/web-1 --snapshot east.snapshot --svid web.pem --key web.key --bundle east.mesh=east.pem",
        ], takesDash: true)

    private static let shared: [FlagDescription] = [
        FlagDescription(
            "state-dir", "DIR", example: "/var/lib/meshfed/proxy",
            "Holds key, SVID and last good snapshot (0700); locked while it runs."),
        FlagDescription(
            "token-file", "FILE", example: "/run/token",
            "The enrolment token; needed at the first start only. - is standard input."),
        FlagDescription(
            "snapshot", "FILE", example: "east.snapshot",
            "Runs without a broker on a snapshot of meshfed snapshot build."),
        FlagDescription("svid", "PEM", example: "web.pem", "With --snapshot: the certificate chain, leaf first."),
        FlagDescription("key", "PEM", example: "web.key", "With --snapshot: the private key (0600)."),
        FlagDescription(
            "bundle", "TRUST-DOMAIN=PEM", repeats: true, example: "east.mesh=east.pem",
            "Roots of one trust domain, in place of those of the snapshot."),
        FlagDescription("region", "REGION", example: "us-east", "Where it runs; for locality preference."),
        FlagDescription("zone", "ZONE", example: "us-east-1a", "Where in the region."),
        FlagDescription(
            "admin", "ADDR:PORT|unix:PATH", default: "127.0.0.1:15000", example: "127.0.0.1:15000",
            "Admin page; loopback or a UNIX socket only."),
        FlagDescription(
            "metrics", "ADDR:PORT", default: "0.0.0.0:15020", example: "0.0.0.0:15020", "/metrics and /healthz."),
        FlagDescription("ready", "ADDR:PORT", default: "0.0.0.0:15021", example: "0.0.0.0:15021", "/healthz/ready."),
        FlagDescription(
            "workers", "N", default: "sidecar 1, gateway as many as CPUs", example: "2", "Worker threads, 1 to 256."),
        FlagDescription("log-format", "FORMAT", default: "text", example: "json", "text or json."),
        FlagDescription(
            "grace", "DURATION", default: "10s", example: "30s",
            "How long a drain waits for what is in flight, 0s to 1h."),
        FlagDescription(
            "known-certificates", "N", default: "1024", example: "4096",
            "Certificates of verified peers that a worker keeps decoded, about 10 KiB each; 0 to 4096."),
        FlagDescription(
            "takeover", nil,
            "Takes the listeners over from the process that runs with the same --state-dir or --handover; that one drains. Nobody there: starts as usual."
        ),
        FlagDescription(
            "handover", "PATH", default: "handover.sock in --state-dir", example: "/run/meshfed/gw-1.sock",
            "UNIX socket by which the next process takes over; with --snapshot there is none unless given."),
        FlagDescription(
            "max-connections", "N", default: "16384 per worker, or what open files allow", example: "10000",
            "Connections taken; above it they wait. One caller holds at most as many as are left."),
        FlagDescription(
            "max-requests", "N", default: "65536 per worker", example: "20000",
            "Requests in progress; above it 503 overload. One caller holds at most as many as are left."),
        FlagDescription(
            "memory-limit", "SIZE", default: "that of the cgroup", example: "256MiB",
            "Resident memory, 32MiB to 1024GiB: load is shed from 75 % on, in stages."),
    ]
}
