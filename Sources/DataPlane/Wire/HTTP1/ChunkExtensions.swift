extension Span<UInt8> {
    /// True for `*( BWS ";" BWS name [ BWS "=" BWS value ] )` (RFC 9112 7.1.1). The bytes are field content already.
    ///
    /// Nobody here knows an extension; a list that is none is one that two readers may take in two ways.
    var isChunkExtensions: Bool {
        var place = 0
        while place < count {
            place = pastSpace(place)
            guard place < count, self[place] == UInt8(ascii: ";") else { return false }
            place = pastSpace(place + 1)
            let name = place
            place = pastToken(place)
            guard place > name else { return false }
            let sign = pastSpace(place)
            guard sign < count, self[sign] == UInt8(ascii: "=") else { continue }
            place = pastSpace(sign + 1)
            let value = place
            place = place < count && self[place] == UInt8(ascii: "\"") ? pastQuotes(place) : pastToken(place)
            guard place > value else { return false }
        }
        return true
    }

    private func pastSpace(_ start: Int) -> Int {
        var place = start
        while place < count, self[place] == 32 || self[place] == 9 { place += 1 }
        return place
    }

    private func pastToken(_ start: Int) -> Int {
        var place = start
        while place < count, self[place].isToken { place += 1 }
        return place
    }

    /// Behind the closing quote; `start` when there is none.
    private func pastQuotes(_ start: Int) -> Int {
        var place = start + 1
        while place < count {
            if self[place] == UInt8(ascii: "\"") { return place + 1 }
            place += self[place] == UInt8(ascii: "\\") ? 2 : 1
        }
        return start
    }
}
