/// Character classes of RFC 9110 and RFC 3986, judged on bytes: never on `String`, whose comparisons follow Unicode.
extension UInt8 {
    /// A to Z become a to z; every other byte stays.
    @inline(__always) package var lowercased: UInt8 { self &- 65 < 26 ? self | 0x20 : self }

    @inline(__always) package var isDigit: Bool { self &- 48 < 10 }

    @inline(__always) package var isLetter: Bool { (self | 0x20) &- 97 < 26 }

    /// `tchar` of RFC 9110 5.6.2: what methods and field names are made of.
    @inline(__always) package var isToken: Bool { Self.member(self, 0x03ff_6cfa_0000_0000, 0x57ff_ffff_c7ff_fffe) }

    /// Letters, digits, `-` and `_`: what the labels of a host name are made of.
    @inline(__always) var isHostName: Bool { Self.member(self, 0x03ff_2000_0000_0000, 0x07ff_fffe_87ff_fffe) }

    /// `field-vchar`, space and tab (RFC 9110 5.5): every byte but the controls and DEL.
    @inline(__always) package var isFieldContent: Bool { self >= 0x20 ? self != 0x7f : self == 9 }

    /// What a request target may hold: visible ASCII without `#` (a fragment is never sent) and `\` (read as `/` by some).
    @inline(__always) package var isTarget: Bool { self > 0x20 && self < 0x7f && self != 0x23 && self != 0x5c }

    /// The value of a hexadecimal digit, or nil.
    @inline(__always) package var hexValue: UInt8? {
        if self &- 48 < 10 { return self &- 48 }
        let folded = self | 0x20
        return folded &- 97 < 6 ? folded &- 87 : nil
    }

    @inline(__always) private static func member(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> Bool {
        guard byte < 128 else { return false }
        return ((byte < 64 ? low : high) >> UInt64(byte & 63)) & 1 == 1
    }
}

extension Span where Element == UInt8 {
    /// Equal byte for byte.
    package func equals(_ other: borrowing Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        guard count >= 8 else {
            for index in 0..<count where self[index] != other[index] { return false }
            return true
        }
        let own = unsafe bytes
        let theirs = unsafe other.bytes
        var start = 0
        while start < count {
            let offset = Swift.min(start, count - 8)
            // SAFETY: both spans have `count` bytes, and offset + 8 <= count.
            let word = unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            if unsafe word != theirs.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self) {
                return false
            }
            start += 8
        }
        return true
    }

    /// Equal but for the case of ASCII letters.
    package func equalsIgnoringCase(_ other: borrowing Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where self[index].lowercased != other[index].lowercased { return false }
        return true
    }

    /// Equal to a name of `HeaderName` (lower-case letters, digits, `-`, `:`) but for the case of letters; eight bytes at
    /// a time. Setting bit 5 folds letters; what it folds beside them are controls, which the second test refuses.
    func equalsWireName(_ name: borrowing Span<UInt8>) -> Bool {
        guard count == name.count else { return false }
        let own = unsafe bytes
        let other = unsafe name.bytes
        guard count >= 8 else {
            guard count >= 4 else { return equalsIgnoringCase(name) }
            // SAFETY: both spans have `count` bytes, of which four from the front and four from the end are loaded.
            let front = unsafe UInt64(own.unsafeLoadUnaligned(fromUncheckedByteOffset: 0, as: UInt32.self))
            let back = unsafe UInt64(own.unsafeLoadUnaligned(fromUncheckedByteOffset: count - 4, as: UInt32.self))
            let start = unsafe UInt64(other.unsafeLoadUnaligned(fromUncheckedByteOffset: 0, as: UInt32.self))
            let end = unsafe UInt64(other.unsafeLoadUnaligned(fromUncheckedByteOffset: count - 4, as: UInt32.self))
            return Self.isFolded(front | back << 32, start | end << 32)
        }
        var start = 0
        while start < count {
            let offset = Swift.min(start, count - 8)
            // SAFETY: both spans have `count` bytes, and offset + 8 <= count.
            let word = unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            let expected = unsafe other.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            if !Self.isFolded(word, expected) { return false }
            start += 8
        }
        return true
    }

    @inline(__always) private static func isFolded(_ word: UInt64, _ expected: UInt64) -> Bool {
        let fold: UInt64 = 0x2020_2020_2020_2020
        return word | fold == expected | fold && (word | word >> 1) & fold == fold
    }

    /// Equal to a literal, byte for byte.
    package func equals(_ literal: StaticString) -> Bool {
        equals(literal.span)
    }

    /// Equal to a literal but for the case of ASCII letters.
    package func equalsIgnoringCase(_ literal: StaticString) -> Bool {
        equalsIgnoringCase(literal.span)
    }

    /// The index of the first `byte` at or after `start`; eight bytes at a time.
    package func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
        var index = Swift.max(0, start)
        let own = unsafe bytes
        let pattern = Self.ones &* UInt64(byte)
        while index &+ 8 <= count {
            // SAFETY: index + 8 <= count.
            let word = unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self) ^ pattern
            let zeros = (word &- Self.ones) & ~word & Self.tops
            if zeros != 0 { return index &+ UInt64(littleEndian: zeros).trailingZeroBitCount / 8 }
            index &+= 8
        }
        while index < count {
            if self[index] == byte { return index }
            index &+= 1
        }
        return nil
    }

    private static var ones: UInt64 { 0x0101_0101_0101_0101 }
    private static var tops: UInt64 { 0x8080_8080_8080_8080 }

    /// Every byte may stand in a field value: no control but tab, no DEL. Eight bytes at a time where there are none.
    package var isFieldContent: Bool {
        guard count >= 8 else { return isFieldContentByBytes(0..<count) }
        let own = unsafe bytes
        var index = 0
        while index < count {
            // The last word overlaps the one before it.
            let offset = Swift.min(index, count &- 8)
            // SAFETY: offset + 8 <= count.
            let word = unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            let delete = word ^ (Self.ones &* 0x7f)
            let suspects = (word &- Self.ones &* 0x20) & ~word | (delete &- Self.ones) & ~delete
            if suspects & Self.tops != 0, !isFieldContentByBytes(offset..<offset &+ 8) { return false }
            index &+= 8
        }
        return true
    }

    private func isFieldContentByBytes(_ range: Range<Int>) -> Bool {
        for index in range where !self[index].isFieldContent { return false }
        return true
    }

    /// Without spaces and tabs on both sides. No other byte counts as white space.
    package var trimmed: Span<UInt8> {
        @_lifetime(copy self)
        get {
            var start = 0
            var end = count
            while start < end, self[start] == 32 || self[start] == 9 { start += 1 }
            while end > start, self[end - 1] == 32 || self[end - 1] == 9 { end -= 1 }
            return extracting(start..<end)
        }
    }

    /// Every byte is a token character, and there is at least one.
    package var isToken: Bool {
        for index in 0..<count where !self[index].isToken { return false }
        return !isEmpty
    }

    /// Digits only, no sign, no leading zero (but "0"), at most 18 of them: RFC 9112 6.2 without its loose ends.
    package var decimal: Int? {
        guard count > 0, count <= 18, count == 1 || self[0] != 48 else { return nil }
        var value = 0
        for index in 0..<count {
            guard self[index].isDigit else { return nil }
            value = value * 10 + Int(self[index] &- 48)
        }
        return value
    }

    /// Starts with "meshfed-" in any case, with `_` read as `-` (as servers that make CGI variables do).
    package var isMeshfedName: Bool {
        let prefix = HeaderName.meshfedPrefix
        guard count >= prefix.count else { return false }
        for index in 0..<prefix.count {
            let byte = self[index] == UInt8(ascii: "_") ? UInt8(ascii: "-") : self[index].lowercased
            if byte != prefix[index] { return false }
        }
        return true
    }

    /// The known name this one is read as by a server that takes `_` for `-` (HOSTILE 46); `other` if none.
    package var nameWithUnderscoresMapped: HeaderName {
        guard count <= 40, firstIndex(of: UInt8(ascii: "_")) != nil else { return HeaderName(self) }
        var folded: InlineArray<40, UInt8> = .init(repeating: 0)
        for index in 0..<count { folded[index] = self[index] == UInt8(ascii: "_") ? UInt8(ascii: "-") : self[index] }
        return HeaderName(folded.span.extracting(first: count))
    }
}

extension HeaderName {
    fileprivate static var meshfedPrefix: Span<UInt8> {
        @_lifetime(immortal)
        get { HeaderName.meshfedOrigin.wireBytes.extracting(first: 8) }
    }
}

extension StaticString {
    /// Its bytes, which live for ever.
    var span: Span<UInt8> {
        @_lifetime(immortal)
        get {
            // SAFETY: a static string's storage lives for ever.
            let bytes = unsafe Span(_unsafeStart: utf8Start, count: utf8CodeUnitCount)
            return unsafe _overrideLifetime(bytes, copying: ())
        }
    }
}
