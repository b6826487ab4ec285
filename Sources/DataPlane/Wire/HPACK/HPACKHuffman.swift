internal import Containers

/// The Huffman code of strings (RFC 7541 5.2 and Appendix B), for reading only: our encoder writes plain strings.
///
/// The code is canonical: codes of one length follow each other in the order of their symbols, behind all shorter ones. So
/// the lengths say everything. Codes of up to eight bits (all that names and usual values are made of) are found by one
/// look at the next byte; longer ones by comparing with the first code of each length.
@safe
enum HPACKHuffman {
    /// The length of each symbol's code in bits; the last is EOS.
    private static let lengths: [UInt8] = [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
        28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
        6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23,
        22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23,
        20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
        27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
    ]

    /// Codes of one length longer than eight bits.
    private struct Band {
        var length: Int
        /// Behind the last code of this length, as the highest bits of a word.
        var end: UInt64
        /// The first code of this length, as the highest bits of a word.
        var start: UInt64
        /// Where its symbol stands in `symbols`.
        var first: Int
    }

    /// Behind pointers, because arrays that all threads share are counted by each use.
    @safe
    private struct Tables {
        /// By the next eight bits: symbol, and the length of its code times 256; 0 where the code is longer.
        let short: UnsafePointer<UInt16>
        let bands: UnsafeBufferPointer<Band>
        /// The symbols of longer codes in the order of their codes.
        let symbols: UnsafeBufferPointer<UInt16>
    }

    /// Built once, never freed.
    // SAFETY: nobody writes to it once it is built.
    private nonisolated(unsafe) static let tables: Tables = build()

    private static func build() -> Tables {
        // SAFETY: 256 words are allocated and initialised; each short code fills a range below 256.
        let short = UnsafeMutablePointer<UInt16>.allocate(capacity: 256)
        unsafe short.initialize(repeating: 0, count: 256)
        var bands: [Band] = []
        var symbols: [UInt16] = []
        var next: UInt64 = 0
        for length in 1...30 {
            let step = UInt64(1) << UInt64(64 - length)
            var band = Band(length: length, end: 0, start: next, first: symbols.count)
            for symbol in lengths.indices where Int(lengths[symbol]) == length {
                if length <= 8 {
                    let from = Int(next >> 56)
                    for index in from..<from + 1 << (8 - length) { unsafe short[index] = UInt16(length << 8 | symbol) }
                } else {
                    symbols.append(UInt16(symbol))
                }
                // The last code ends where the word wraps.
                next = next &+ step
            }
            band.end = next &- 1
            if length > 8, symbols.count > band.first { bands.append(band) }
        }
        return unsafe Tables(short: UnsafePointer(short), bands: kept(bands), symbols: kept(symbols))
    }

    private static func kept<Element>(_ elements: [Element]) -> UnsafeBufferPointer<Element> {
        // SAFETY: as many places are allocated as are initialised.
        let memory = UnsafeMutableBufferPointer<Element>.allocate(capacity: elements.count)
        _ = unsafe memory.initialize(from: elements)
        return UnsafeBufferPointer(memory)
    }

    /// Appends what `bytes` stand for. EOS inside, padding of more than seven bits or with zeros: an error.
    static func decode(_ bytes: Span<UInt8>, to output: inout ByteBuffer) throws(HPACKError) {
        var isWhole = false
        // The shortest code has five bits.
        let room = bytes.count &* 8 / 5 &+ 8
        // SAFETY: each symbol takes five bits or more of `bytes`, so `room` bytes hold them all.
        _ = unsafe output.fill(minimum: room) { target in
            guard let target = unsafe target.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return 0 }
            var count = 0
            isWhole = unsafe decode(bytes, target, &count)
            return count
        }
        guard isWhole else { throw HPACKError() }
    }

    private static func decode(
        _ bytes: Span<UInt8>, _ target: UnsafeMutablePointer<UInt8>, _ count: inout Int
    ) -> Bool {
        // SAFETY: as the caller says; a byte is an index below 256 of the short table; a word is loaded only where eight
        // bytes are left.
        let tables = unsafe Self.tables
        let short = unsafe tables.short
        let source = unsafe bytes.bytes
        let end = bytes.count
        var place = 0
        // The bits not yet used, from the highest down; behind them zeros.
        var word: UInt64 = 0
        var bits = 0
        var written = 0
        defer { count = written }
        while true {
            if place &+ 8 <= end {
                let more = unsafe source.unsafeLoadUnaligned(fromUncheckedByteOffset: place, as: UInt64.self).bigEndian
                let taken = (64 &- bits) >> 3
                let kept = taken == 8 ? more : more & ~(UInt64.max &>> UInt64(truncatingIfNeeded: taken &* 8))
                word |= kept &>> UInt64(truncatingIfNeeded: bits)
                place &+= taken
                bits &+= taken &* 8
            } else {
                while bits <= 56, place < end {
                    word |= UInt64(bytes[place]) &<< UInt64(truncatingIfNeeded: 56 &- bits)
                    place &+= 1
                    bits &+= 8
                }
            }
            var code = unsafe short[Int(truncatingIfNeeded: word >> 56)]
            while code != 0, bits >= 8 {
                unsafe target[written] = UInt8(truncatingIfNeeded: code)
                written &+= 1
                word &<<= UInt64(code >> 8)
                bits &-= Int(code >> 8)
                unsafe code = short[Int(truncatingIfNeeded: word >> 56)]
            }
            if code == 0 {
                // A longer code, for which the next bytes may be wanted first.
                if bits < 30, place < end { continue }
                guard let (symbol, length) = longer(word, tables), length <= bits else {
                    return isPadding(word, bits)
                }
                guard symbol < 256 else { return false }
                unsafe target[written] = UInt8(truncatingIfNeeded: symbol)
                written &+= 1
                word &<<= UInt64(truncatingIfNeeded: length)
                bits &-= length
            } else if place == end {
                // Less than eight bits are left.
                guard Int(code >> 8) <= bits else { return isPadding(word, bits) }
                unsafe target[written] = UInt8(truncatingIfNeeded: code)
                written &+= 1
                word &<<= UInt64(code >> 8)
                bits &-= Int(code >> 8)
            }
        }
    }

    private static func longer(_ word: UInt64, _ tables: Tables) -> (UInt16, Int)? {
        // SAFETY: both indices are compared with the counts.
        for index in unsafe 0..<tables.bands.count {
            let band = unsafe tables.bands[index]
            guard word <= band.end else { continue }
            let place = band.first &+ Int(truncatingIfNeeded: (word &- band.start) &>> UInt64(64 &- band.length))
            guard unsafe place < tables.symbols.count else { return nil }
            return (unsafe tables.symbols[place], band.length)
        }
        return nil
    }

    /// The start of EOS: up to seven ones and nothing else.
    private static func isPadding(_ word: UInt64, _ bits: Int) -> Bool {
        bits < 8 && word == ~(UInt64.max &>> UInt64(truncatingIfNeeded: bits))
    }
}
