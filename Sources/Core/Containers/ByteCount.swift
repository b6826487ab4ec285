/// A number of bytes. Limits are written with it, so that no constant needs a unit in its name.
public struct ByteCount: Hashable, Comparable, Sendable {
    public let bytes: Int

    @inlinable public init(_ bytes: Int) { self.bytes = bytes }
    @inlinable public static func kibibytes(_ count: Int) -> ByteCount { ByteCount(count * 1_024) }
    @inlinable public static func mebibytes(_ count: Int) -> ByteCount { ByteCount(count * 1_048_576) }
    @inlinable public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}
