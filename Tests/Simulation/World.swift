import Authority
import ControlCoding
import Federation
import Identity
import MeshModel
import MeshTestKit

/// How long, and how bad.
struct Scenario {
    var seed: UInt64
    var bug: SeededBug?
    /// Trouble lasts this long; then everything heals.
    var trouble = Duration.seconds(40)
    var siteCount = 10
}

/// Clock, network and chance; everything else asks it. One thread, one random source: the seed decides all.
final class World {
    /// One Sync stream between two processes.
    final class Stream {
        let id: StreamID
        /// Dialler and dialled.
        let ends: (Site, Site)
        let incarnations: (Int, Int)
        let opened: Instant
        var isOpen = true
        /// Last frame lost or late, by direction from the first end and from the second.
        var lastFault: [Instant] = [.zero, .zero]
        var lastArrival: [Instant] = [.zero, .zero]
        /// What the liar calls itself on it.
        var claim: ClusterID?

        init(_ id: StreamID, _ dialler: Site, _ dialled: Site, _ opened: Instant) {
            self.id = id
            ends = (dialler, dialled)
            incarnations = (dialler.incarnation, dialled.incarnation)
            self.opened = opened
        }

        func direction(from site: Site) -> Int { site === ends.0 ? 0 : 1 }
        func other(than site: Site) -> Site { site === ends.0 ? ends.1 : ends.0 }
    }

    let scenario: Scenario
    let ring = KeyRing()
    let verifier: RecordVerifier
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private var events = EventQueue()
    var random: SplitMix64
    var sites: [Site] = []
    var oracle: Oracle!
    private var streams: [UInt64: Stream] = [:]
    private var nextStream: UInt64 = 1
    /// Who cannot be heard by whom: "a>b".
    private var deaf: Set<String> = []
    private(set) var isTroubled = true
    private(set) var violation: Violation?
    /// Real keys for the ledger, which takes no others; nothing depends on their bytes.
    private var ledgerKeys: [[UInt8]: PublicKey] = [:]

    init(_ scenario: Scenario) throws {
        self.scenario = scenario
        random = SplitMix64(seed: scenario.seed)
        let ring = ring
        verifier = RecordVerifier(
            verify: { ring.verify($0, $1, $2) }, hash: { SHA256.hash($0) },
            rootHash: { $0.first == 0x72 ? SHA256.hash($0) : nil })
        oracle = Oracle(self)
        for index in 0..<scenario.siteCount { sites.append(try Site(self, index)) }
    }

    var liar: Site { sites[sites.count - 1] }
    /// Whose tokens everybody uses.
    var sponsor: Site { sites[0] }
    var isFirstHalf: Bool { now < Instant(nanoseconds: 1_000_000_000) + scenario.trouble / 2 }

    func site(_ cluster: ClusterID) -> Site? { sites.first { $0.cluster == cluster } }
    func site(of domain: TrustDomain) -> Site? { sites.first { $0.domain == domain } }

    // MARK: Chance and time

    func chance(_ percent: Int) -> Bool { below(100) < percent }
    func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }
    func milliseconds(_ range: ClosedRange<Int>) -> Duration { .milliseconds(Int.random(in: range, using: &random)) }

    func after(_ delay: Duration, _ run: @escaping () -> Void) { events.add(at: now + delay, run) }

    func fail(_ invariant: Invariant, _ text: String) {
        if violation == nil { violation = Violation(invariant: invariant, time: now, text: text) }
    }

    /// Runs until the oracle finds something, or until `done` says so, or until `end`.
    func run(until end: Instant, done: () -> Bool = { false }) {
        while violation == nil, let event = events.next() {
            now = max(now, event.time)
            event.run()
            if now >= end || done() { return }
        }
    }

    // MARK: Network

    func setDeaf(_ hearer: Site, to speaker: Site, _ isDeaf: Bool) {
        let key = "\(speaker.index)>\(hearer.index)"
        if isDeaf { deaf.insert(key) } else { deaf.remove(key) }
    }

    func isDeaf(_ hearer: Site, to speaker: Site) -> Bool { deaf.contains("\(speaker.index)>\(hearer.index)") }

    func heal() {
        isTroubled = false
        deaf = []
    }

    func dial(_ site: Site, _ peer: ClusterID) {
        let incarnation = site.incarnation
        after(milliseconds(5...60)) { [unowned self] in
            guard site.process != nil, site.incarnation == incarnation else { return }
            guard let target = self.site(peer), target.process != nil, !isDeaf(target, to: site),
                !isDeaf(site, to: target), target.trusts(site.domain), site.trusts(target.domain)
            else {
                return site.run { machine, moment in machine.dialFailed(peer, at: moment) }
            }
            let stream = Stream(StreamID(nextStream), site, target, now)
            nextStream += 1
            streams[stream.id.number] = stream
            var claimed = site.domain
            // The mistake: the name that the peer gives itself counts, and the liar gives another's.
            if scenario.bug == .believesTheHello, site === liar,
                let victim = sites.dropFirst().first(where: { $0 !== target })
            {
                claimed = victim.domain
                stream.claim = victim.cluster
            }
            target.run { machine, moment in
                machine.streamOpened(stream.id, trustDomain: claimed, dialledByUs: false, at: moment)
            }
            guard stream.isOpen else { return }
            site.run { machine, moment in
                machine.streamOpened(stream.id, trustDomain: target.domain, dialledByUs: true, at: moment)
            }
        }
    }

    func send(_ id: StreamID, from site: Site, _ bytes: [UInt8]) {
        guard let stream = streams[id.number], stream.isOpen else { return }
        var bytes = bytes
        if let claim = stream.claim, site === liar,
            case .hello(var hello)? = try? SyncFrame.decode(bytes, from: site.cluster)
        {
            hello.cluster = claim
            bytes = SyncFrame.hello(hello).encode()
        }
        let direction = stream.direction(from: site)
        let target = stream.other(than: site)
        let incarnation = direction == 0 ? stream.incarnations.1 : stream.incarnations.0
        var copies = 1
        if isTroubled {
            if chance(1) { copies = 2 }
            if chance(2) || isDeaf(target, to: site) { copies = 0 }
        }
        if copies == 0 {
            stream.lastFault[direction] = now
            // A loss that TCP cannot mend breaks the stream; one in our own buffers is silent.
            if chance(30) { after(milliseconds(10...3_000)) { [unowned self] in drop(stream) } }
            return
        }
        for _ in 0..<copies {
            var arrival = max(now + milliseconds(2...60), stream.lastArrival[direction])
            if isTroubled, chance(2) {
                arrival = arrival + milliseconds(10...400)
                stream.lastFault[direction] = now
            } else {
                stream.lastArrival[direction] = arrival
            }
            events.add(at: arrival) { [unowned self] in
                guard stream.isOpen, target.process != nil, target.incarnation == incarnation else { return }
                guard !isDeaf(target, to: site) else { return stream.lastFault[direction] = now }
                target.receive(stream.id, bytes, from: site)
            }
        }
    }

    /// One side ended it: the other hears of that, unless it cannot hear.
    func close(_ id: StreamID, by site: Site) {
        guard let stream = streams[id.number], stream.isOpen else { return }
        stream.isOpen = false
        streams[id.number] = nil
        let target = stream.other(than: site)
        let incarnation = target === stream.ends.0 ? stream.incarnations.0 : stream.incarnations.1
        // What was sent before the end arrives before it.
        let arrival = max(now, stream.lastArrival[stream.direction(from: site)])
        stream.isOpen = true
        events.add(at: arrival + .milliseconds(1)) { [unowned self] in
            stream.isOpen = false
            guard target.process != nil, target.incarnation == incarnation, !isDeaf(target, to: site) else { return }
            target.run { machine, moment in machine.streamClosed(id, at: moment) }
        }
    }

    private func drop(_ stream: Stream) {
        guard stream.isOpen, streams[stream.id.number] != nil else { return }
        stream.isOpen = false
        streams[stream.id.number] = nil
        for (site, incarnation) in [(stream.ends.0, stream.incarnations.0), (stream.ends.1, stream.incarnations.1)]
        where site.process != nil && site.incarnation == incarnation {
            site.run { machine, moment in machine.streamClosed(stream.id, at: moment) }
        }
    }

    /// The kernel of a dead process resets its connections.
    func processEnded(_ site: Site) {
        for number in streams.keys.sorted() {
            guard let stream = streams[number], stream.ends.0 === site || stream.ends.1 === site else { continue }
            let target = stream.other(than: site)
            let incarnation = target === stream.ends.0 ? stream.incarnations.0 : stream.incarnations.1
            stream.isOpen = false
            streams[number] = nil
            after(milliseconds(1...20)) { [unowned self] in
                guard target.process != nil, target.incarnation == incarnation, !isDeaf(target, to: site) else {
                    return
                }
                target.run { machine, moment in machine.streamClosed(stream.id, at: moment) }
            }
        }
    }

    /// True when frames from `speaker` have reached `hearer` on one stream, all and in time, since `start`.
    func isConnected(_ hearer: Site, to speaker: Site, since start: Instant) -> Bool {
        streams.values.contains { stream in
            guard stream.isOpen, stream.ends.0 === hearer || stream.ends.1 === hearer,
                stream.other(than: hearer) === speaker
            else { return false }
            return stream.opened < start && stream.lastFault[stream.direction(from: speaker)] < start
        } && !isDeaf(hearer, to: speaker)
    }

    /// A datagram-like call and its answer: each way may be lost.
    func call(_ from: Site, _ to: Site, _ run: @escaping () -> Void) {
        guard !(isTroubled && chance(10)), !isDeaf(to, to: from) else { return }
        after(milliseconds(2...60), run)
    }

    func ledgerKey(_ federationKey: [UInt8]) throws -> PublicKey {
        if let key = ledgerKeys[federationKey] { return key }
        let key = try PrivateKey.generate().publicKey
        ledgerKeys[federationKey] = key
        return key
    }
}
