import Containers
import MeshTestKit
import Testing

@Suite struct ByteBufferTests {
    private func array(_ buffer: borrowing ByteBuffer) -> [UInt8] {
        let span = buffer.bytes
        return (0..<span.count).map { span[$0] }
    }

    @Test func agreesWithAnArray() {
        var random = SplitMix64.announced()
        for _ in 0..<50 {
            var buffer = Bool.random(using: &random) ? ByteBuffer() : ByteBuffer(capacity: 16)
            var model: [UInt8] = []
            for _ in 0..<400 {
                switch Int.random(in: 0..<7, using: &random) {
                case 0:
                    let bytes = random.bytes(Int.random(in: 0...600, using: &random))
                    buffer.append(bytes)
                    model += bytes
                case 1:
                    buffer.append(0x41)
                    model.append(0x41)
                case 2:
                    buffer.append("text")
                    model += Array("text".utf8)
                case 3:
                    let count = Int.random(in: 0...700, using: &random)
                    buffer.consume(count)
                    model.removeFirst(min(count, model.count))
                case 4:
                    let bytes = random.bytes(Int.random(in: 0...300, using: &random))
                    let filled = unsafe buffer.fill(minimum: 300) { room in
                        for (index, byte) in bytes.enumerated() { unsafe room[index] = byte }
                        return bytes.count
                    }
                    holds(filled == bytes.count)
                    model += bytes
                case 5: buffer.shrink()
                default:
                    if Int.random(in: 0..<10, using: &random) == 0 {
                        buffer.removeAll()
                        model = []
                    }
                }
                holds(buffer.count == model.count && buffer.isEmpty == model.isEmpty)
            }
            holds(array(buffer) == model)
        }
    }

    @Test func fillClampsWhatTheCloserSays() {
        var buffer = ByteBuffer()
        holds(unsafe buffer.fill(minimum: 8) { _ in -5 } == 0)
        let filled = unsafe buffer.fill(minimum: 8) { room in
            unsafe room.initializeMemory(as: UInt8.self, repeating: 1)
            return Int.max
        }
        holds(filled == buffer.count && filled >= 8)
    }

    @Test func digitsAreWrittenEightAtATime() {
        var random = SplitMix64.announced()
        for value in [0, 1, 0xF, 0x0123_4567_89AB_CDEF, UInt64.max] + (0..<200).map({ _ in random.next() }) {
            var buffer = ByteBuffer()
            buffer.append(digits: value)
            let text = String(value, radix: 16)
            holds(array(buffer) == Array((String(repeating: "0", count: 16 - text.count) + text).utf8))
            buffer.append(word: 0x6463_6261, count: 3)
            buffer.append(word: 0, count: -1)
            holds(Array(array(buffer).suffix(3)) == Array("abc".utf8))
        }
    }

    @Test func anEmptyBufferHasNoBytes() {
        let buffer = ByteBuffer()
        holds(buffer.bytes.isEmpty && buffer.isEmpty)
    }
}

@Suite struct ByteTableTests {
    @Test func agreesWithADictionary() {
        var random = SplitMix64.announced()
        var model: [[UInt8]: Int] = [:]
        var entries: [(key: [UInt8], value: Int)] = []
        for value in 0..<2_000 {
            let key = random.bytes(Int.random(in: 0...3, using: &random))
            entries.append((key, value))
            if model[key] == nil { model[key] = value }
        }
        let table = ByteTable(entries)
        holds(table.count == model.count)
        for (key, value) in model { holds(table.value(for: key) == value) }
        for _ in 0..<2_000 {
            let key = random.bytes(Int.random(in: 0...4, using: &random))
            holds(table.value(for: key.span) == model[key])
        }
    }

    @Test func anEmptyTableHasNothing() {
        let table = ByteTable([])
        holds(table.value(for: [1]) == nil && table.value(for: []) == nil && table.count == 0)
    }
}

@Suite struct RingTests {
    @Test func agreesWithAnArray() {
        var random = SplitMix64.announced()
        for limit in [0, 1, 7, 8, 9, 100] {
            var ring = Ring<Int>(limit: limit)
            var model: [Int] = []
            for step in 0..<3_000 {
                if Int.random(in: 0..<5, using: &random) < 3 {
                    let room = model.count < limit
                    holds(ring.append(step) == room)
                    if room { model.append(step) }
                } else {
                    holds(ring.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
                }
                holds(ring.first == model.first && ring.count == model.count)
                holds(ring.isFull == (model.count >= limit) && ring.isEmpty == model.isEmpty)
            }
            ring.removeAll()
            holds(ring.isEmpty && ring.popFirst() == nil)
        }
    }

    @Test func byteCountsCompare() {
        holds(ByteCount.kibibytes(1) == ByteCount(1_024))
        holds(ByteCount.mebibytes(1) > ByteCount.kibibytes(1_023))
    }
}
