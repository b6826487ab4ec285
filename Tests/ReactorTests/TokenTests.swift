import Containers
import MeshTestKit
import Reactor
import Testing

@Suite struct TokenTests {
    @Test func keepsKindSlotAndGeneration() {
        var random = SplitMix64.announced()
        for _ in 0..<2_000 {
            let kind = UInt8.random(in: 0...255, using: &random)
            let slot = UInt32.random(in: 0..<1 << 24, using: &random)
            let generation = UInt32.random(in: 0...UInt32.max, using: &random)
            let token = Token(kind: kind, handle: Handle(slot: slot, generation: generation))
            #expect(token.kind == kind)
            #expect(token.handle == Handle(slot: slot, generation: generation))
        }
    }

    @Test func differsInEachPart() {
        let base = Token(kind: 1, handle: Handle(slot: 2, generation: 3))
        #expect(base != Token(kind: 2, handle: Handle(slot: 2, generation: 3)))
        #expect(base != Token(kind: 1, handle: Handle(slot: 3, generation: 3)))
        #expect(base != Token(kind: 1, handle: Handle(slot: 2, generation: 4)))
        #expect(base == Token(kind: 1, handle: Handle(slot: 2, generation: 3)))
    }
}
