import Authority
import MeshModel
import MeshTestKit
import Testing

@Suite struct AuthorityMachineTests {
    let now = Office.now

    @Test func aKeyGoesThroughItsLife() throws {
        var machine = AuthorityMachine()
        try machine.found(id: "a", root: [1], now: now)
        #expect(machine.active?.id == "a" && machine.sequence == 1)
        try machine.prepare(id: "b", root: [2], now: now)
        #expect(machine.roots == [[1], [2]] && machine.sequence == 2 && machine.active?.id == "a")
        #expect(throws: AuthorityError.notAcknowledged(needed: 2, acknowledged: 1)) {
            try machine.activate(id: "b", acknowledged: 1, now: now)
        }
        try machine.activate(id: "b", acknowledged: 2, now: now)
        #expect(machine.active?.id == "b" && machine.roots == [[2], [1]] && machine.sequence == 2)
        #expect(throws: AuthorityError.self) {
            try machine.revoke(id: "a", signed: now.after(10), force: false, now: now)
        }
        try machine.revoke(id: "a", signed: nil, force: false, now: now)
        #expect(machine.roots == [[2]] && machine.sequence == 3)
    }

    @Test func stepsOutOfOrderAreRefused() throws {
        var machine = AuthorityMachine()
        #expect(throws: AuthorityError.self) { try machine.prepare(id: "a", root: [1], now: now) }
        try machine.found(id: "a", root: [1], now: now)
        #expect(throws: AuthorityError.self) { try machine.found(id: "b", root: [1], now: now) }
        #expect(throws: AuthorityError.self) { try machine.activate(id: "a", acknowledged: 9, now: now) }
        #expect(throws: AuthorityError.self) { try machine.taint(id: "a", now: now) }
        #expect(throws: AuthorityError.self) { try machine.revoke(id: "a", signed: nil, force: true, now: now) }
        #expect(throws: AuthorityError.unknownAuthority("z")) { try machine.taint(id: "z", now: now) }
        try machine.prepare(id: "b", root: [2], now: now)
        #expect(throws: AuthorityError.self) { try machine.prepare(id: "c", root: [3], now: now) }
        try machine.taint(id: "b", now: now)
        #expect(throws: AuthorityError.self) { try machine.activate(id: "b", acknowledged: 9, now: now) }
        try machine.revoke(id: "b", signed: now.after(10), force: true, now: now)
        #expect(throws: AuthorityError.self) { try machine.revoke(id: "b", signed: nil, force: true, now: now) }
    }

    @Test func anyOrderOfStepsKeepsOneSignerAndARisingSequence() throws {
        var random = SplitMix64.announced()
        for _ in 0..<200 {
            var machine = AuthorityMachine()
            try machine.found(id: "0", root: [0], now: now)
            var sequence = machine.sequence
            for step in 1..<60 {
                let before = machine
                let id = "\(Int.random(in: 0..<step, using: &random))"
                do {
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: try machine.prepare(id: "\(step)", root: [UInt8(step)], now: now)
                    case 1:
                        try machine.activate(id: id, acknowledged: UInt64.random(in: 0...9, using: &random), now: now)
                    case 2: try machine.taint(id: id, now: now)
                    default: try machine.revoke(id: id, signed: nil, force: false, now: now)
                    }
                } catch {
                    #expect(machine == before, "a refused step changes nothing")
                }
                #expect(machine.entries.count { $0.phase == .active } == 1)
                #expect(machine.entries.count { $0.phase == .prepared } <= 1)
                #expect(machine.roots.count <= AuthorityMachine.maximumRoots)
                #expect(machine.sequence >= sequence)
                #expect(machine.sequence > before.sequence || Set(machine.roots) == Set(before.roots))
                sequence = machine.sequence
            }
        }
    }
}
