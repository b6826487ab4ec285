import ControlCoding
import Federation
import MeshModel
import MeshTestKit
import Testing

@Suite struct SyncTests {
    private func pair() throws -> Lab {
        let lab = Lab()
        try lab.add("east", "west")
        try lab.join("west", to: "east")
        return lab
    }

    @Test func aCatalogReachesItsConsumerWholeAndThenByDeltas() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all, "ratings": .all, "secret": .none])
        lab.connect("east", "west")
        #expect(lab.services("east", of: "west") == ["ratings", "reviews"])
        #expect(lab.freshness("east", of: "west") == .fresh)
        lab.offer("west", revision: 2, ["reviews": .all, "details": .clusters([Lab.id("east")]), "secret": .none])
        #expect(lab.services("east", of: "west") == ["details", "reviews"])
        lab.offer("west", revision: 3, ["reviews": .clusters([Lab.id("north")])])
        #expect(lab.services("east", of: "west").isEmpty)
        #expect(lab.sites["east"]!.machine.view.catalogs.first?.revision == 3)
    }

    @Test func aReconnectGoesOnWhereItWas() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let id = lab.connect("east", "west")
        lab.cut(id)
        lab.offer("west", revision: 2, ["reviews": .all, "ratings": .all])
        #expect(lab.services("east", of: "west") == ["reviews"])
        lab.connect("east", "west")
        #expect(lab.services("east", of: "west") == ["ratings", "reviews"])
        // The owner's process is new: other epoch, whole catalog.
        try lab.restart("west")
        lab.offer("west", revision: 1, epoch: 2, ["ratings": .all])
        lab.connect("east", "west")
        #expect(lab.services("east", of: "west") == ["ratings"])
    }

    @Test func theConsumerKeepsTheCatalogOverARestart() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all, "ratings": .all])
        lab.connect("east", "west")
        let wall = lab.clock.wall
        let view = lab.sites["east"]!.machine.view
        lab.pass(3)
        try lab.restart("east")
        var restored = lab.sites["east"]!.machine.view
        // Nobody has confirmed the data since: it is as old as the last time that was written.
        #expect(restored.members.first?.freshness == .stale(since: wall))
        restored.members[0].freshness = .fresh
        #expect(restored == view)
    }

    @Test func aLostDeltaIsFoundByTheLease() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let id = lab.connect("east", "west")
        let wire = lab.wires.removeValue(forKey: id.number)
        lab.offer("west", revision: 2, ["ratings": .all])
        lab.wires[id.number] = wire
        #expect(lab.services("east", of: "west") == ["reviews"])
        lab.pass(6)
        #expect(lab.services("east", of: "west") == ["ratings"])
        #expect(lab.freshness("east", of: "west") == .fresh)
    }

    @Test func aDeltaAfterALostOneIsNotTaken() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all, "ratings": .all])
        let id = lab.connect("east", "west")
        let wire = lab.wires.removeValue(forKey: id.number)
        lab.offer("west", revision: 2, ["reviews": .all])
        lab.wires[id.number] = wire
        // The owner sends a whole catalog at once when it hears of the gap; without its answer nothing moves.
        lab.pass(2)
        lab.offer("west", revision: 3, ["reviews": .all, "details": .all])
        #expect(lab.services("east", of: "west") == ["details", "reviews"])
    }

    @Test func aLostRecordIsFoundByTheDigest() throws {
        let lab = try pair()
        let id = lab.connect("east", "west")
        let wire = lab.wires.removeValue(forKey: id.number)
        try lab.run("west") { lab, machine in try machine.describe(lab.description("west", gateways: 5), at: lab.clock)
        }
        lab.wires[id.number] = wire
        lab.pass(16)
        #expect(lab.sites["east"]!.machine.view.members.first?.gateways.count == 5)
    }

    @Test func silenceMakesALinkStaleSinceTheLastLease() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let id = lab.connect("east", "west")
        let wall = lab.clock.wall
        lab.wires.removeValue(forKey: id.number)
        lab.pass(15)
        #expect(lab.freshness("east", of: "west") == .fresh)
        lab.pass(2)
        #expect(lab.freshness("east", of: "west") == .stale(since: wall))
        #expect(lab.sites["east"]!.ends[id] == .silent)
        #expect(lab.services("east", of: "west") == ["reviews"])
        lab.pass(1)
        #expect(lab.sites["east"]!.dials.contains(Lab.id("west")))
    }

    @Test func aConnectionWithOldDataIsNotFresh() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let id = lab.connect("east", "west")
        lab.cut(id)
        lab.pass(20)
        #expect(lab.freshness("east", of: "west") != .fresh)
        let again = StreamID(900)
        lab.run("east") { lab, machine in
            machine.streamOpened(again, trustDomain: Lab.domain("west"), dialledByUs: true, at: lab.clock)
        }
        func frame(_ frame: SyncFrame) {
            lab.run("east") { lab, machine in machine.received(again, frame.encode(), at: lab.clock) }
        }
        frame(
            .hello(
                SyncHello(
                    cluster: Lab.id("west"), version: "", features: [], wallTime: lab.clock.wall, cursor: .none)))
        frame(
            .lease(
                SyncLease(
                    counter: 1, cursor: CatalogCursor(epoch: 1, revision: 9), wallTime: lab.clock.wall)))
        #expect(lab.freshness("east", of: "west") != .fresh)
        frame(
            .lease(
                SyncLease(
                    counter: 2, cursor: CatalogCursor(epoch: 1, revision: 1),
                    wallTime: lab.clock.wall.advanced(bySeconds: 40))))
        #expect(lab.freshness("east", of: "west") == .fresh)
        #expect(lab.status("east", "west")?.skew == 40)
        // The same counter again is no sign of life.
        lab.pass(10)
        frame(
            .lease(
                SyncLease(
                    counter: 2, cursor: CatalogCursor(epoch: 1, revision: 1), wallTime: lab.clock.wall)))
        lab.pass(6)
        #expect(lab.freshness("east", of: "west") != .fresh)
    }

    @Test func ofTwoStreamsTheOneDialledByTheLowerNameStays() throws {
        let lab = try pair()
        let first = lab.connect("west", "east")
        let second = lab.connect("east", "west")
        #expect(lab.sites["east"]!.ends[first] == .duplicate || lab.sites["west"]!.ends[first] == .duplicate)
        #expect(lab.wires[second.number] != nil)
        let third = lab.connect("west", "east")
        #expect(lab.wires[third.number] == nil && lab.wires[second.number] != nil)
        // The same side dials again: the newer one is the living one.
        let fourth = lab.connect("east", "west")
        #expect(lab.wires[second.number] == nil && lab.wires[fourth.number] != nil)
    }

    @Test func onlyMembersOpenStreams() throws {
        let lab = try pair()
        try lab.add("north")
        let id = lab.connect("north", "east")
        #expect(lab.sites["north"]!.ends[id] == .notAMember)
    }

    @Test func aPeerThatSpeaksForAnotherOrOutOfTurnIsCutOff() throws {
        for frames: [SyncFrame] in [
            [
                .hello(
                    SyncHello(
                        cluster: Lab.id("north"), version: "", features: [], wallTime: WallTime(seconds: 0),
                        cursor: .none))
            ],
            [.lease(SyncLease(counter: 1, cursor: .none, wallTime: WallTime(seconds: 0)))],
        ] {
            let lab = try pair()
            let id = StreamID(77)
            lab.run("east") { lab, machine in
                machine.streamOpened(id, trustDomain: Lab.domain("west"), dialledByUs: false, at: lab.clock)
            }
            for frame in frames {
                lab.run("east") { lab, machine in machine.received(id, frame.encode(), at: lab.clock) }
            }
            guard case .violation? = lab.sites["east"]!.ends[id] else {
                Issue.record("the stream goes on")
                continue
            }
            #expect(lab.alarms("east") == [.misbehaviour])
        }
    }

    @Test func aFloodOfFramesCostsTheFlooderItsStream() throws {
        let lab = try pair()
        let id = lab.connect("east", "west")
        let frame = SyncFrame.ack(.none, refused: nil).encode()
        for _ in 0..<(FederationLimits.frameBurst + 10) {
            lab.run("east") { lab, machine in machine.received(id, frame, at: lab.clock) }
        }
        guard case .quota? = lab.sites["east"]!.ends[id] else {
            Issue.record("the stream goes on")
            return
        }
    }

    @Test func tooManyServicesAreAQuotaErrorAndTheOldCatalogStays() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let id = lab.connect("east", "west")
        var sent = 0
        var index: UInt32 = 0
        while sent <= CodingLimits.catalogRecords {
            let records = (sent..<(sent + 2_000)).map { number in
                CatalogRecord(
                    service: ObjectName(namespace: Label("x")!, name: Label("s\(number)")!), cluster: Lab.id("west"),
                    ports: [], capacities: [], authorization: Authorization())
            }
            sent += 2_000
            let chunk = CatalogChunk(
                cursor: CatalogCursor(epoch: 1, revision: 9), index: index, isLast: false, records: records)
            index += 1
            lab.run("east") { lab, machine in machine.received(id, SyncFrame.snapshot(chunk).encode(), at: lab.clock) }
        }
        lab.drain()
        #expect(lab.alarms("east") == [.misbehaviour])
        #expect(lab.services("east", of: "west") == ["reviews"])
        #expect(lab.status("west", "east")?.refusal?.hasPrefix("quota") == true)
    }

    @Test func aLargeCatalogTravelsInChunks() throws {
        let lab = try pair()
        lab.connect("east", "west")
        var services: [String: ExportScope] = [:]
        for index in 0..<6_000 { services["service-with-a-long-name-\(index)"] = .all }
        lab.offer("west", revision: 1, services)
        #expect(lab.services("east", of: "west").count == 6_000)
    }

    @Test func nothingIsVisibleBeforeItIsDurable() {
        var queue = ActionQueue()
        let row = FederationRow(.own, "own", [1])
        let alarm = { (text: String) in FederationAction.alarm(FederationAlarm(.replay, nil, text)) }
        queue.append([alarm("a"), .persist([row]), alarm("b")])
        queue.append([alarm("c"), .persist([row]), alarm("d")])
        #expect(queue.released() == [alarm("a")])
        #expect(queue.batches().map(\.number) == [1, 2])
        #expect(queue.batches().isEmpty && queue.released().isEmpty)
        queue.written(upTo: 1)
        #expect(queue.released() == [alarm("b"), alarm("c")])
        queue.written(upTo: 2)
        #expect(queue.released() == [alarm("d")] && queue.isEmpty)
    }

    @Test func anyBytesOnAStreamAreSafe() throws {
        let lab = try pair()
        lab.offer("west", revision: 1, ["reviews": .all])
        let site = lab.sites["west"]!
        let records = site.rows.values.filter { $0.table == .records }.compactMap(\.value)
        let seeds: [[UInt8]] = [
            SyncFrame.records(records).encode(),
            SyncFrame.lease(SyncLease(counter: 3, cursor: .none, wallTime: WallTime(seconds: 4))).encode(),
            SyncFrame.ack(CatalogCursor(epoch: 1, revision: 1), refused: "gap").encode(),
            SyncFrame.delta(CatalogDelta(epoch: 1, from: 1, to: 2, changed: [], removed: [])).encode(),
            SyncFrame.hello(
                SyncHello(
                    cluster: Lab.id("west"), version: "", features: [], wallTime: lab.clock.wall, cursor: .none)
            ).encode(),
        ]
        var random = SplitMix64.announced()
        for round in 0..<2_000 {
            let id = StreamID(UInt64(10_000 + round))
            var machine = lab.sites["east"]!.machine
            _ = machine.streamOpened(id, trustDomain: Lab.domain("west"), dialledByUs: false, at: lab.clock)
            _ = machine.received(id, seeds[4], at: lab.clock)
            for _ in 0..<3 {
                let seed = seeds[Int.random(in: 0..<seeds.count, using: &random)]
                _ = machine.received(id, random.damaged(seed), at: lab.clock)
            }
            #expect(machine.view.members.map(\.cluster) == [Lab.id("west")])
        }
    }
}
