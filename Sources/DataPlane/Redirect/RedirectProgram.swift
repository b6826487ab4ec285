internal import Glibc
package import Settings

/// `meshfed-proxy redirect`: prints, applies or removes the rules of this network namespace.
///
/// Both families are tested before one is changed, and a family that fails takes the other one's change back.
package enum RedirectProgram {
    /// 0 done, 1 refused with one line on standard error.
    package static func run(_ settings: RedirectSettings) -> Int32 {
        do throws(RedirectFailure) {
            switch settings.action {
            case .print: try show(settings)
            case .apply: try apply(settings)
            case .remove: try remove(settings)
            }
            return 0
        } catch {
            put("meshfed-proxy: redirect: \(error.text)\n", on: 2)
            return 1
        }
    }

    private static func show(_ settings: RedirectSettings) throws(RedirectFailure) {
        for family in settings.families {
            let tool = FamilyTools.word(family)
            put("# \(tool)-restore --noflush\n\(RedirectRules(settings, family).apply())", on: 1)
        }
    }

    private static func apply(_ settings: RedirectSettings) throws(RedirectFailure) {
        for uid in settings.uids where !Self.isMapped(uid) {
            throw RedirectFailure(
                "there is no user \(uid) in this user namespace; give --mark NUMBER here and to the sidecar, nothing was changed"
            )
        }
        var work: [(tools: FamilyTools, text: String, undo: String)] = []
        for tools in try tools(settings) {
            let table = try tools.table()
            if let rule = table.obstacle {
                throw RedirectFailure(
                    "\(tools.name): another rule redirects this pod's traffic: \(rule); remove it first, nothing was changed"
                )
            }
            let text = RedirectRules(settings, tools.family).apply(replacing: table.ownJumps)
            let before = try tools.save()
            work.append((tools, text, before))
        }
        for item in work { try item.tools.restore(item.text, testOnly: true) }
        for index in work.indices {
            do throws(RedirectFailure) {
                try work[index].tools.restore(work[index].text)
            } catch {
                for done in work[..<index] { try? done.tools.restoreWhole(done.undo) }
                throw error
            }
        }
    }

    private static func remove(_ settings: RedirectSettings) throws(RedirectFailure) {
        var work: [(tools: FamilyTools, text: String)] = []
        for tools in try tools(settings) {
            let table = try tools.table()
            let text = RedirectRules.remove(table.ownJumps, chains: table.ownChains)
            if !text.isEmpty { work.append((tools, text)) }
        }
        for item in work { try item.tools.restore(item.text, testOnly: true) }
        for item in work { try item.tools.restore(item.text) }
    }

    /// The tools of each family; an error where something is missing that is needed here.
    private static func tools(_ settings: RedirectSettings) throws(RedirectFailure) -> [FamilyTools] {
        guard hasNetAdmin else {
            throw RedirectFailure(
                "needs CAP_NET_ADMIN in this network namespace; run it as the pod's root (an init container with NET_ADMIN)"
            )
        }
        var found: [FamilyTools] = []
        for family in settings.families {
            // A kernel or a namespace without IPv6 has nothing to capture.
            // SAFETY: the path is read during the call only.
            if family == .ipv6, unsafe access("/proc/net/if_inet6", F_OK) != 0 {
                guard settings.families == [.ipv6] else { continue }
                throw RedirectFailure("there is no IPv6 in this namespace; try --family ipv4")
            }
            found.append(try FamilyTools(family))
        }
        return found
    }

    /// user_namespaces(7): first, first outside, count. The kernel refuses a rule for any other user, without a word.
    private static func isMapped(_ uid: UInt32) -> Bool {
        guard let run = ToolRun.find("cat").flatMap({ ToolRun([$0, "/proc/self/uid_map"]) }), run.status == 0 else {
            return true
        }
        return run.output.split(separator: "\n").contains { line in
            let numbers = line.split(separator: " ").compactMap { UInt64($0) }
            return numbers.count == 3 && UInt64(uid) >= numbers[0] && UInt64(uid) - numbers[0] < numbers[2]
        }
    }

    /// CAP_NET_ADMIN is bit 12 (linux/capability.h) of the effective set.
    private static var hasNetAdmin: Bool {
        guard let run = ToolRun.find("cat").flatMap({ ToolRun([$0, "/proc/self/status"]) }) else { return true }
        for line in run.output.split(separator: "\n") where line.hasPrefix("CapEff:") {
            guard let set = line.split(separator: "\t").last, let bits = UInt64(set, radix: 16) else { return true }
            return bits >> 12 & 1 == 1
        }
        return true
    }

    private static func put(_ text: String, on descriptor: Int32) {
        var bytes = ArraySlice(text.utf8)
        while !bytes.isEmpty {
            // SAFETY: the bytes are lent for the length of the call.
            let count = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}

/// One line: what, where and what to try.
struct RedirectFailure: Error {
    let text: String

    init(_ text: String) { self.text = text }
}

/// iptables, its restore and its save, of one family.
struct FamilyTools {
    /// Another holder of the xtables lock is waited for so long, in seconds.
    private static let lockWait = "5"

    let family: RedirectSettings.Family
    private let list: String
    private let restorer: String
    private let saver: String

    static func word(_ family: RedirectSettings.Family) -> String { family == .ipv4 ? "iptables" : "ip6tables" }

    var name: String { Self.word(family) }

    init(_ family: RedirectSettings.Family) throws(RedirectFailure) {
        self.family = family
        let word = Self.word(family)
        func find(_ name: String) throws(RedirectFailure) -> String {
            guard let path = ToolRun.find(name) else {
                throw RedirectFailure("there is no \(name) here; install iptables, or run it in an image that has it")
            }
            return path
        }
        list = try find(word)
        restorer = try find("\(word)-restore")
        saver = try find("\(word)-save")
    }

    func table() throws(RedirectFailure) -> NATTable {
        NATTable(try run([list, "-w", Self.lockWait, "-t", "nat", "-S"]))
    }

    /// The whole nat table, to be put back by `restoreWhole`.
    func save() throws(RedirectFailure) -> String { try run([saver, "-t", "nat"]) }

    func restore(_ text: String, testOnly: Bool = false) throws(RedirectFailure) {
        _ = try run([restorer, "-w", Self.lockWait, "--noflush"] + (testOnly ? ["--test"] : []), input: text)
    }

    func restoreWhole(_ text: String) throws(RedirectFailure) {
        _ = try run([restorer, "-w", Self.lockWait, "-T", "nat"], input: text)
    }

    private func run(_ arguments: [String], input: String = "") throws(RedirectFailure) -> String {
        guard let run = ToolRun(arguments, input: input) else {
            throw RedirectFailure("cannot run \(arguments[0]); is it a program of this machine?")
        }
        guard run.status == 0 else {
            throw RedirectFailure("\(arguments[0]): \(run.complaint); nothing was changed")
        }
        return run.output
    }
}
