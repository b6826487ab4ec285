package import MeshModel

/// Where a signing key stands in its life (PROTOCOLS section 1).
package enum AuthorityPhase: String, Hashable, Sendable, Codable, CaseIterable {
    /// In the bundle, signs nothing yet.
    case prepared
    /// Signs; exactly one is active.
    case active
    /// Still in the bundle, signs nothing more; what it signed is to be renewed.
    case tainted
    /// Out of the bundle; the key is destroyed.
    case revoked
}

/// One signing key of the CA.
package struct AuthorityEntry: Hashable, Sendable {
    /// 16 hexadecimal digits from the hash of the root's key.
    package let id: String
    package var phase: AuthorityPhase
    /// The root certificate in DER.
    package let root: [UInt8]
    /// The bundle's sequence with which the root came into it.
    package let entered: UInt64
    /// When the phase was reached.
    package var since: WallTime

    package init(id: String, phase: AuthorityPhase, root: [UInt8], entered: UInt64, since: WallTime) {
        self.id = id
        self.phase = phase
        self.root = root
        self.entered = entered
        self.since = since
    }
}

/// The life cycle of the CA's keys, without keys, clock or store: prepared → active → tainted → revoked. Every change of
/// the bundle raises its sequence.
package struct AuthorityMachine: Hashable, Sendable {
    /// Roots in the bundle at once: more than one rotation is never under way.
    package static let maximumRoots = 4

    package private(set) var entries: [AuthorityEntry]
    /// The sequence of the bundle as it is now.
    package private(set) var sequence: UInt64

    /// As a store holds it; no entries and sequence 0 for a new CA.
    package init(entries: [AuthorityEntry] = [], sequence: UInt64 = 0) {
        self.entries = entries
        self.sequence = sequence
    }

    /// The one that signs; nil before the first.
    package var active: AuthorityEntry? { entries.first { $0.phase == .active } }

    /// Roots of the bundle, the active one first, then by ID.
    package var roots: [[UInt8]] {
        entries.filter { $0.phase != .revoked }
            .sorted { ($0.phase == .active ? 0 : 1, $0.id) < ($1.phase == .active ? 0 : 1, $1.id) }.map(\.root)
    }

    /// The first key of a new CA; active at once, for there is nobody yet who could not know it.
    package mutating func found(id: String, root: [UInt8], now: WallTime) throws(AuthorityError) {
        guard entries.isEmpty else { throw .wrongPhase("the authority exists already") }
        sequence += 1
        entries.append(AuthorityEntry(id: id, phase: .active, root: root, entered: sequence, since: now))
    }

    /// Puts a new root into the bundle.
    package mutating func prepare(id: String, root: [UInt8], now: WallTime) throws(AuthorityError) {
        guard active != nil else { throw .wrongPhase("there is no active authority") }
        if let waiting = entries.first(where: { $0.phase == .prepared }) {
            throw .wrongPhase("authority \(waiting.id) is prepared already: activate or taint it first")
        }
        guard !entries.contains(where: { $0.id == id }) else { throw .wrongPhase("authority \(id) exists already") }
        guard entries.count(where: { $0.phase != .revoked }) < Self.maximumRoots else {
            throw .full("the bundle holds \(Self.maximumRoots) roots: revoke a tainted authority first")
        }
        sequence += 1
        entries.append(AuthorityEntry(id: id, phase: .prepared, root: root, entered: sequence, since: now))
    }

    /// Lets a prepared key sign, and taints the one that did. `acknowledged` is the lowest bundle sequence that every live proxy
    /// and member has said it holds.
    package mutating func activate(id: String, acknowledged: UInt64, now: WallTime) throws(AuthorityError) {
        let index = try index(id)
        guard entries[index].phase == .prepared else {
            throw .wrongPhase("authority \(id) is \(entries[index].phase.rawValue); only a prepared one is activated")
        }
        guard acknowledged >= entries[index].entered else {
            throw .notAcknowledged(needed: entries[index].entered, acknowledged: acknowledged)
        }
        for other in entries.indices where entries[other].phase == .active {
            entries[other].phase = .tainted
            entries[other].since = now
        }
        entries[index].phase = .active
        entries[index].since = now
    }

    /// Gives up a prepared key that is not to be used.
    package mutating func taint(id: String, now: WallTime) throws(AuthorityError) {
        let index = try index(id)
        switch entries[index].phase {
        case .prepared:
            entries[index].phase = .tainted
            entries[index].since = now
        case .active:
            throw .wrongPhase("authority \(id) signs now: prepare and activate another, which taints this one")
        case .tainted, .revoked: throw .wrongPhase("authority \(id) is \(entries[index].phase.rawValue) already")
        }
    }

    /// Takes a tainted root out of the bundle. `signed` is the end of the last certificate under it that is not expired, nil when
    /// there is none; `force` is for a key that was stolen, and cuts off whoever still shows one.
    package mutating func revoke(id: String, signed: WallTime?, force: Bool, now: WallTime) throws(AuthorityError) {
        let index = try index(id)
        guard entries[index].phase == .tainted else {
            throw .wrongPhase("authority \(id) is \(entries[index].phase.rawValue); only a tainted one is revoked")
        }
        if let signed, !force {
            let left = max(0, signed.seconds - now.seconds)
            throw .wrongPhase(
                "certificates signed by authority \(id) are valid for another \(left) s: wait, or force it")
        }
        sequence += 1
        entries[index].phase = .revoked
        entries[index].since = now
    }

    /// Another change of the bundle than one of its roots: a serial revoked or forgotten.
    package mutating func touch() { sequence += 1 }

    private func index(_ id: String) throws(AuthorityError) -> Int {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { throw .unknownAuthority(id) }
        return index
    }
}
