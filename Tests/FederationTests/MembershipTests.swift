import ControlCoding
import Federation
import Identity
import MeshModel
import MeshTestKit
import Testing

@Suite struct MembershipTests {
    @Test func aJoinMakesMembersOfBoth() throws {
        let lab = Lab()
        try lab.add("east", "west")
        let outcome = try lab.join("west", to: "east")
        #expect(outcome.sponsor == Lab.id("east") && outcome.admitted == [Lab.id("east")] && !outcome.alreadyJoined)
        #expect(lab.members("east") == ["west"])
        #expect(lab.members("west") == ["east"])
        #expect(lab.sites["east"]!.machine.view.bundles.map(\.roots) == [[Lab.root("west")]])
        #expect(lab.sites["west"]!.machine.isMember(Lab.domain("east")))
    }

    @Test func aJoinIsIdempotentAndGivesTheStoredAnswer() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        let sequence = lab.status("east", "west")?.sequence
        try lab.run("west") { lab, machine in try machine.describe(lab.description("west", gateways: 2), at: lab.clock)
        }
        let again = try lab.join("west", to: "east")
        #expect(again.alreadyJoined)
        #expect(lab.status("east", "west")?.sequence == sequence)
        #expect(lab.members("east") == ["west"])
    }

    @Test func aPlanChangesNothing() throws {
        let lab = Lab()
        try lab.add("east", "west")
        let (before, after) = (lab.sites["east"]!.rows, lab.sites["west"]!.rows)
        let outcome = try lab.join("west", to: "east", plan: true)
        #expect(outcome.admitted == [Lab.id("east")])
        #expect(lab.members("east").isEmpty && lab.members("west").isEmpty)
        #expect(lab.sites["east"]!.rows == before && lab.sites["west"]!.rows == after)
    }

    @Test func aThirdJoinsThroughTheFirstAndAllAreMembers() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        lab.connect("east", "west")
        let outcome = try lab.join("north", to: "east")
        #expect(outcome.admitted == [Lab.id("east"), Lab.id("west")])
        #expect(lab.members("east") == ["north", "west"])
        #expect(lab.members("north") == ["east", "west"])
        // West used east's token, so east's word on north is enough for it.
        #expect(lab.members("west") == ["east", "north"])
        #expect(lab.status("west", "north")?.standing == .admitted(.sponsor(Lab.id("east"))))
        #expect(lab.sites["west"]!.machine.view.bundles.count == 2)
        #expect(lab.alarms("east").isEmpty && lab.alarms("west").isEmpty && lab.alarms("north").isEmpty)
    }

    @Test func oneWhoUsedOurTokenIsNoSponsorUnlessNamed() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        lab.connect("east", "west")
        try lab.join("north", to: "west")
        #expect(lab.members("west") == ["east", "north"])
        #expect(lab.members("east") == ["west"])
        #expect(lab.status("east", "north")?.standing == .pending(reason: "its sponsor is none of ours"))
        lab.run("east") { lab, machine in machine.setSponsors([Lab.id("west")], at: lab.clock) }
        #expect(lab.members("east") == ["north", "west"])
        #expect(lab.sites["east"]!.machine.view.bundles.count == 2)
    }

    @Test func aPendingOneIsAcceptedByHand() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        lab.connect("east", "west")
        try lab.join("north", to: "west")
        try lab.run("east") { lab, machine in try machine.accept(Lab.id("north"), key: nil, at: lab.clock) }
        #expect(lab.status("east", "north")?.standing == .admitted(.accepted))
        #expect(throws: FederationError.notPending(Lab.id("north"))) {
            try lab.run("east") { lab, machine in try machine.accept(Lab.id("north"), key: nil, at: lab.clock) }
        }
        #expect(throws: FederationError.unknownMember(Lab.id("south"))) {
            try lab.run("east") { lab, machine in try machine.accept(Lab.id("south"), key: nil, at: lab.clock) }
        }
    }

    @Test func aTakenNameDomainRootOrKeyIsRefused() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        func refused(_ name: String, _ domain: String, root: String, seed: UInt8) throws -> String {
            var configuration = lab.configuration("north", seed: seed)
            configuration.cluster = Lab.id(name)
            configuration.trustDomain = Lab.domain(domain)
            var machine = try FederationMachine(configuration, rows: [], at: lab.clock)
            _ = try machine.describe(
                OwnDescription(
                    brokerAddresses: [], gateways: [],
                    bundle: BundleStatement(trustDomain: Lab.domain(domain), roots: [Lab.root(root)])), at: lab.clock)
            let request = try machine.joinRequest(tokenSecret: [UInt8](repeating: 1, count: 32), plan: false)
            do {
                _ = try lab.sites["east"]!.machine.joinIntent(request)
                return "taken"
            } catch {
                return error.word
            }
        }
        #expect(try refused("north", "north", root: "north", seed: 3) == "taken")
        #expect(try refused("west", "north", root: "north", seed: 3) == "conflict")
        #expect(try refused("north", "west", root: "north", seed: 3) == "conflict")
        #expect(try refused("north", "north", root: "west", seed: 3) == "conflict")
        #expect(try refused("east", "north", root: "north", seed: 3) == "conflict")
        #expect(try refused("north", "east", root: "north", seed: 3) == "conflict")
        #expect(try refused("north", "north", root: "east", seed: 3) == "conflict")
        // West's key under another name.
        var stolen = lab.configuration("west", seed: 0)
        stolen.cluster = Lab.id("north")
        stolen.trustDomain = Lab.domain("north")
        var machine = try FederationMachine(stolen, rows: [], at: lab.clock)
        _ = try machine.describe(lab.description("north"), at: lab.clock)
        let request = try machine.joinRequest(tokenSecret: [UInt8](repeating: 1, count: 32), plan: false)
        #expect(throws: JoinRefusal.self) { try lab.sites["east"]!.machine.joinIntent(request) }
    }

    @Test func anEvictionReachesAllAndIsFinal() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        try lab.join("north", to: "east")
        lab.connect("east", "west")
        lab.connect("east", "north")
        lab.connect("west", "north")
        #expect(lab.members("west") == ["east", "north"])
        let record = lab.sites["north"]!.rows.values.first { $0.table == .records && $0.key.contains("vouched") }
        try lab.run("east") { lab, machine in try machine.evict(Lab.id("north"), reason: "test", at: lab.clock) }
        lab.drain()
        #expect(lab.members("east") == ["west"])
        #expect(lab.members("west") == ["east"])
        #expect(lab.sites["west"]!.expelled == [Lab.id("north")])
        #expect(lab.sites["west"]!.machine.view.bundles.map(\.trustDomain) == [Lab.domain("east")])
        // North hears it from its sponsor and trusts nobody any more.
        #expect(lab.members("north").isEmpty && lab.sites["north"]!.machine.isOwnKeyDead)
        // Its old record does not bring it back, also not after a restart.
        try lab.restart("west")
        lab.connect("east", "west")
        let id = lab.connect("east", "west")
        let replayed = SyncFrame.records([record?.value ?? []]).encode()
        lab.run("west") { lab, machine in machine.received(id, replayed, at: lab.clock) }
        #expect(lab.members("west") == ["east"])
        #expect(throws: FederationError.ownKeyDead) { try lab.join("north", to: "east") }
    }

    @Test func aReturnNeedsANewKeyAndAHigherEpoch() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        let id = lab.connect("east", "west")
        try lab.run("west") { lab, machine in try machine.leave(reason: "", at: lab.clock).actions }
        lab.drain()
        #expect(lab.members("east").isEmpty && lab.members("west").isEmpty)
        #expect(lab.sites["west"]!.ends[id] == .leaving)
        #expect(lab.status("east", "west")?.standing == .gone(reason: "left"))
        #expect(throws: FederationError.ownKeyDead) { try lab.join("west", to: "east") }
        try lab.restart("west")
        #expect(lab.sites["west"]!.machine.isOwnKeyDead)
        lab.sites["west"]!.seed = 1
        try lab.run("west") { lab, machine in try machine.revive(lab.signer("west", 1), at: lab.clock) }
        #expect(lab.sites["west"]!.machine.ownStatement.epoch == 2)
        try lab.join("west", to: "east")
        #expect(lab.members("east") == ["west"] && lab.members("west") == ["east"])
        // A store without the higher epoch does not bring the name back.
        try lab.run("east") { lab, machine in try machine.evict(Lab.id("west"), reason: "", at: lab.clock) }
        var fresh = try FederationMachine(lab.configuration("west", seed: 9), rows: [], at: lab.clock)
        _ = try fresh.describe(lab.description("west"), at: lab.clock)
        let request = try fresh.joinRequest(tokenSecret: [UInt8](repeating: 1, count: 32), plan: false)
        #expect(throws: JoinRefusal.self) { try lab.sites["east"]!.machine.joinIntent(request) }
    }

    @Test func aMemberThatIsNoSponsorOnlyRaisesAnAlarm() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        try lab.join("north", to: "east")
        lab.connect("east", "west")
        lab.connect("east", "north")
        lab.connect("west", "north")
        try lab.run("west") { lab, machine in try machine.evict(Lab.id("north"), reason: "", at: lab.clock) }
        lab.drain()
        #expect(lab.members("west") == ["east"])
        #expect(lab.members("east") == ["north", "west"])
        #expect(lab.alarms("east") == [.eviction])
        // North loses that one member only.
        #expect(lab.members("north") == ["east"])
        #expect(!lab.sites["north"]!.machine.isOwnKeyDead)
        lab.run("east") { lab, machine in machine.setSponsors([Lab.id("west")], at: lab.clock) }
        #expect(lab.members("east") == ["west"])
    }

    @Test func sequencesRiseOverRestartsAndRestoredStoresHeal() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        let old = lab.sites["west"]!
        let id = lab.connect("east", "west")
        try lab.run("west") { lab, machine in try machine.describe(lab.description("west", gateways: 3), at: lab.clock)
        }
        lab.drain()
        let sequence = lab.sites["west"]!.machine.ownSequence(.membership)
        #expect(sequence == 2 && lab.status("east", "west")?.sequence == 2)
        try lab.restart("west")
        #expect(lab.sites["west"]!.machine.ownSequence(.membership) == 2)
        // An old copy of the store comes back: what the others know is above it, so it signs above that.
        lab.cut(id)
        lab.sites["west"]!.rows = old.rows
        try lab.restart("west")
        #expect(lab.sites["west"]!.machine.ownSequence(.membership) == 1)
        lab.connect("east", "west")
        #expect(lab.sites["west"]!.machine.ownSequence(.membership) == 3)
        #expect(lab.alarms("west") == [.restored])
        #expect(lab.status("east", "west")?.sequence == 3)
    }

    @Test func replaysAndEquivocationAreAlarmedAndChangeNothing() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        let id = lab.connect("east", "west")
        let signer = lab.signer("west", 0)
        func bundle(_ sequence: UInt64, _ root: String) -> [UInt8] {
            let payload = BundleStatement(trustDomain: Lab.domain("west"), roots: [Lab.root(root)]).encode()
            let bytes = SignedRecord.signedBytes(
                type: .bundle, sequence: sequence, role: .owner, keyName: signer.keyName, payload: payload)
            let signature = RecordSignature(
                role: .owner, keyName: signer.keyName, signature: signer.sign(bytes) ?? [])
            let record = SignedRecord(type: .bundle, sequence: sequence, payload: payload, signatures: [signature])
            return SyncFrame.records([record.encoded]).encode()
        }
        lab.run("east") { lab, machine in machine.received(id, bundle(5, "west-2"), at: lab.clock) }
        #expect(lab.sites["east"]!.machine.view.bundles.first?.sequence == 5)
        lab.run("east") { lab, machine in machine.received(id, bundle(4, "west-3"), at: lab.clock) }
        lab.run("east") { lab, machine in machine.received(id, bundle(5, "west-4"), at: lab.clock) }
        lab.run("east") { lab, machine in machine.received(id, bundle(6, "east"), at: lab.clock) }
        #expect(lab.alarms("east") == [.replay, .equivocation, .conflict])
        try lab.restart("east")
        #expect(lab.sites["east"]!.machine.view.bundles.first?.roots == [Lab.root("west-2")])
        let again = lab.connect("east", "west")
        lab.run("east") { lab, machine in machine.received(again, bundle(4, "west-3"), at: lab.clock) }
        #expect(lab.sites["east"]!.machine.view.bundles.first?.sequence == 5)
    }

    /// A record of `statement`, signed by `signer` under the name of `claimed`.
    private func membership(
        _ statement: MembershipStatement, sequence: UInt64, signer: FederationSigner, claimed: KeyName
    ) -> [UInt8] {
        let payload = statement.encode()
        let bytes = SignedRecord.signedBytes(
            type: .membership, sequence: sequence, role: .owner, keyName: claimed, payload: payload)
        let signature = RecordSignature(role: .owner, keyName: claimed, signature: signer.sign(bytes) ?? [])
        return SignedRecord(type: .membership, sequence: sequence, payload: payload, signatures: [signature]).encoded
    }

    @Test func nobodyRewritesAnothersMembership() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        try lab.join("north", to: "east")
        let id = lab.connect("east", "north")
        let west = lab.signer("west", 0)
        let north = lab.signer("north", 0)
        let forged = MembershipStatement(
            cluster: Lab.id("west"), trustDomain: Lab.domain("west"), federationKey: west.publicKey, rootHashes: [],
            brokerAddresses: ["liar.example:1"], gateways: [], epoch: 1)
        for claimed in [west.keyName, north.keyName] {
            let record = membership(forged, sequence: 9, signer: north, claimed: claimed)
            lab.run("east") { lab, machine in
                machine.received(id, SyncFrame.records([record]).encode(), at: lab.clock)
            }
        }
        #expect(lab.status("east", "west")?.sequence == 1)
        #expect(lab.alarms("east") == [.badSignature])
        // A sponsor's part that the sponsor did not sign admits nobody.
        let stranger = lab.signer("south", 0)
        let own = MembershipStatement(
            cluster: Lab.id("south"), trustDomain: Lab.domain("south"), federationKey: stranger.publicKey,
            rootHashes: [], brokerAddresses: [], gateways: [], epoch: 1)
        let record = try SignedRecord.decode(
            membership(own, sequence: 1, signer: stranger, claimed: stranger.keyName))
        let east = lab.signer("east", 0)
        let bytes = SignedRecord.signedBytes(
            type: .membership, sequence: 1, role: .sponsor, keyName: east.keyName, payload: record.payload)
        let part = RecordSignature(role: .sponsor, keyName: east.keyName, signature: north.sign(bytes) ?? [])
        for name in ["east", "north"] {
            lab.run(name) { lab, machine in
                machine.received(id, SyncFrame.records([record.adding(part).encoded]).encode(), at: lab.clock)
            }
        }
        #expect(lab.members("east") == ["north", "west"] && lab.members("north") == ["east", "west"])
    }

    @Test func aTombstoneThatComesFirstKeepsItsKeyOut() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        try lab.join("north", to: "east")
        let records = lab.sites["north"]!.rows.values.filter { $0.table == .records }.compactMap(\.value)
        try lab.run("north") { lab, machine in try machine.leave(reason: "", at: lab.clock).actions }
        let tombstone = lab.sites["north"]!.rows.values.first { $0.table == .records && $0.key.contains("tombstone") }
        // West has no stream yet and has never heard of north: first that it left, then, from somebody who does not know
        // that yet, that it is there.
        func tell(_ id: StreamID, _ records: [[UInt8]]) {
            let hello = SyncHello(
                cluster: Lab.id("east"), version: "", features: [], wallTime: lab.clock.wall, cursor: .none)
            lab.run("west") { lab, machine in
                machine.streamOpened(id, trustDomain: Lab.domain("east"), dialledByUs: false, at: lab.clock)
            }
            for frame in [SyncFrame.hello(hello), .records(records)] {
                lab.run("west") { lab, machine in machine.received(id, frame.encode(), at: lab.clock) }
            }
        }
        #expect(lab.status("west", "north") == nil)
        tell(StreamID(500), [tombstone?.value ?? []])
        try lab.restart("west")
        tell(StreamID(501), records)
        #expect(lab.members("west") == ["east"])
    }

    @Test func proxiesAreToldWhoIsGone() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        #expect(lab.sites["east"]!.machine.links.states.map(\.cluster) == [Lab.id("west")])
        try lab.run("east") { lab, machine in try machine.evict(Lab.id("west"), reason: "", at: lab.clock) }
        #expect(
            lab.sites["east"]!.machine.links.states == [LinkState(cluster: Lab.id("west"), freshness: .gone)])
        lab.pass(20)
        #expect(lab.sites["east"]!.dials.isEmpty)
    }

    @Test func anEmptyBundleTakesAllTrustAway() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        lab.connect("east", "west")
        try lab.run("west") { lab, machine in
            try machine.describe(lab.description("west", roots: []), at: lab.clock)
        }
        lab.drain()
        #expect(lab.sites["east"]!.machine.view.bundles.map(\.roots) == [[]])
    }

    @Test func aKeyRotationIsFollowedByMembersAndByNewcomers() throws {
        let lab = Lab()
        try lab.add("east", "west", "north")
        try lab.join("west", to: "east")
        lab.connect("east", "west")
        let old = lab.status("east", "west")?.keyName
        lab.sites["west"]!.seed = 5
        try lab.run("west") { lab, machine in try machine.rotate(to: lab.signer("west", 5), at: lab.clock) }
        lab.drain()
        #expect(lab.members("east") == ["west"])
        #expect(lab.status("east", "west")?.keyName != old)
        #expect(lab.alarms("east").isEmpty)
        try lab.restart("west")
        try lab.restart("east")
        lab.connect("east", "west")
        try lab.join("north", to: "east")
        #expect(lab.members("north") == ["east", "west"])
        #expect(lab.status("north", "west")?.keyName == lab.status("east", "west")?.keyName)
        try lab.run("west") { lab, machine in try machine.describe(lab.description("west", gateways: 4), at: lab.clock)
        }
        lab.drain()
        #expect(lab.sites["east"]!.machine.view.members.first { $0.cluster == Lab.id("west") }?.gateways.count == 4)
    }

    @Test func strangersFillNeitherThePendingListNorTheAlarms() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        let id = lab.connect("east", "west")
        for batch in 0..<3 {
            let records = try (0..<100).map { index -> [UInt8] in
                let name = "s\(batch)-\(index)"
                var machine = try FederationMachine(lab.configuration(name, seed: 0), rows: [], at: lab.clock)
                let actions = try machine.describe(lab.description(name), at: lab.clock)
                guard case .persist(let rows)? = actions.first else { return [] }
                return rows.first { $0.table == .records && $0.key.hasSuffix("latest/1") }?.value ?? []
            }
            lab.run("east") { lab, machine in
                machine.received(id, SyncFrame.records(records).encode(), at: lab.clock)
            }
        }
        let pending = lab.sites["east"]!.machine.status(at: lab.clock.instant).filter {
            if case .pending = $0.standing { true } else { false }
        }
        #expect(pending.count == FederationLimits.pendingPerSource)
        #expect(lab.alarms("east") == [.misbehaviour])
        #expect(lab.members("east") == ["west"])
    }

    @Test func aDamagedStoreIsToldNotGuessed() throws {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        for (key, row) in lab.sites["east"]!.rows {
            var rows = lab.sites["east"]!.rows
            rows[key]?.value = Array(row.value!.dropLast(3))
            #expect(throws: FederationError.self, "\(key)") {
                try FederationMachine(lab.configuration("east", seed: 0), rows: Array(rows.values), at: lab.clock)
            }
        }
    }

    @Test func realSignaturesVerify() throws {
        let key = try PrivateKey.generate()
        let publicKey = key.publicKey
        let mint = try CertificateMint("east.mesh")
        let shared = try PrivateKey(der: key.der())
        let box = SharedKey(shared)
        let signer = FederationSigner(
            publicKey: publicKey.spki, keyName: try #require(KeyName(publicKey.fingerprint)),
            sign: { try? box.key.sign($0) })
        let configuration = FederationConfiguration(
            cluster: Lab.id("east"), trustDomain: Lab.domain("east"), signer: signer, verifier: .system, version: "t",
            random: { 1 })
        let now = Moment(.zero, CertificateMint.now)
        var machine = try FederationMachine(configuration, rows: [], at: now)
        _ = try machine.describe(
            OwnDescription(
                brokerAddresses: [], gateways: [],
                bundle: BundleStatement(trustDomain: Lab.domain("east"), roots: [mint.certificate.der])), at: now)
        let request = try machine.joinRequest(tokenSecret: [UInt8](repeating: 1, count: 32), plan: false)
        let record = try JoinRequest.decode(request).membership
        #expect(
            RecordVerifier.system.verify(
                publicKey.spki,
                SignedRecord.signedBytes(
                    type: .membership, sequence: 1, role: .owner, keyName: signer.keyName, payload: record.payload),
                record.signatures[0].signature))
        #expect(RecordVerifier.system.rootHash(mint.certificate.der) == mint.certificate.publicKey.fingerprint)
        #expect(RecordVerifier.system.rootHash([1, 2, 3]) == nil)
    }
}

/// A noncopyable key behind a reference, for a closure.
private final class SharedKey: Sendable {
    let key: PrivateKey
    init(_ key: consuming PrivateKey) { self.key = key }
}
