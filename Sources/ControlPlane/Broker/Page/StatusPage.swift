internal import ControlProtocol
internal import MeshModel
internal import Telemetry

/// The read-only page for a browser: what `meshfed status` shows.
enum StatusPage {
    static func html(_ broker: Broker) -> [UInt8] {
        guard let status = try? broker.admin.status() else { return Array("<p>the store cannot be read</p>".utf8) }
        var page = """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>meshfed \(escaped(status.cluster))</title>
            <style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2em}
            th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc}</style></head><body>
            <h1>cluster \(escaped(status.cluster))</h1>
            <p>trust domain \(escaped(status.trustDomain)), release \(escaped(status.version)), epoch \(status.epoch),
            revision \(status.revision), \(status.services) services, \(status.endpoints) endpoints</p>

            """
        if !status.configurationError.isEmpty {
            page += "<h2>Configuration refused</h2><pre>\(escaped(status.configurationError))</pre>\n"
        }
        page += table(
            "Members", ["cluster", "trust domain", "state", "age of data", "connected", "services", "reason"],
            status.members.map { member in
                [
                    member.cluster, member.trustDomain, word(member.state),
                    member.hasLinkAgeSeconds ? "\(Int(member.linkAgeSeconds)) s" : "never heard",
                    member.connected ? "yes" : "no", "\(member.services)", member.reason,
                ]
            })
        page += table(
            "Proxies", ["role", "name", "identity", "release", "address", "revision", "refused"],
            status.proxies.map { proxy in
                [
                    proxy.role, proxy.name, proxy.identity, proxy.version, proxy.address, "\(proxy.ackedRevision)",
                    proxy.refused,
                ]
            })
        page += table(
            "Authorities", ["root key", "state", "ends"],
            status.authorities.map { [$0.id, $0.state, time($0.notAfter)] })
        page += table(
            "Alarms", ["time", "kind", "cluster", "text"],
            status.alarms.reversed().map { [time($0.time), $0.kind, $0.cluster, $0.text] })
        page += table("Listeners", ["purpose", "address"], status.listeners.map { [$0.purpose, $0.address] })
        return Array((page + "</body></html>\n").utf8)
    }

    private static func table(_ title: String, _ heads: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "<h2>\(title)</h2><p>none</p>\n" }
        func row(_ cells: [String], _ tag: String) -> String {
            "<tr>" + cells.map { "<\(tag)>\(escaped($0))</\(tag)>" }.joined() + "</tr>\n"
        }
        return "<h2>\(title)</h2><table>" + row(heads, "th") + rows.map { row($0, "td") }.joined() + "</table>\n"
    }

    private static func word(_ state: AdminMemberState) -> String {
        switch state {
        case .admitted: "admitted"
        case .pending: "pending"
        case .gone: "gone"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    private static func time(_ seconds: Int64) -> String {
        var bytes: [UInt8] = []
        TimeText.appendWhole(WallTime(seconds: seconds), into: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Names and reasons come from peers too.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
