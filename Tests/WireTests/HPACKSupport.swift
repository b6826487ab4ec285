import CNGHTTP2
import Containers
import Wire

/// A field as both codecs say it.
struct PlainField: Equatable, CustomStringConvertible {
    var name: [UInt8]
    var value: [UInt8]
    var isSensitive = false

    init(_ name: [UInt8], _ value: [UInt8], sensitive: Bool = false) {
        self.name = name
        self.value = value
        isSensitive = sensitive
    }

    init(_ name: String, _ value: String) { self.init(Array(name.utf8), Array(value.utf8)) }

    var text: String { String(decoding: name, as: UTF8.self) }
    var description: String { "\(text): \(String(decoding: value, as: UTF8.self))\(isSensitive ? " (never)" : "")" }
}

func plain(_ block: borrowing HeaderBlock) -> [PlainField] {
    var fields: [PlainField] = []
    for index in 0..<block.count {
        fields.append(
            .init(
                array(block.nameBytes(at: index)), array(block.value(at: index)),
                sensitive: block.isSensitive(at: index)))
    }
    return fields
}

func headerBlock(_ fields: [PlainField]) -> HeaderBlock {
    var block = HeaderBlock()
    for field in fields { block.append(name: field.name.span, value: field.value.span, sensitive: field.isSensitive) }
    return block
}

/// Bytes of a hexadecimal text with spaces.
func hex(_ text: String) -> [UInt8] {
    let digits = text.utf8.compactMap(\.hexValue)
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// The decoder, behind a class so that closures and tables of tests may hold it.
final class OwnDecoder {
    private var decoder: HPACKDecoder
    private(set) var isMalformed = false
    private(set) var isOversized = false

    init(capacity: Int = 4_096) { decoder = HPACKDecoder(capacity: capacity) }

    /// Nil for an error.
    func decode(_ bytes: [UInt8], count: Int = 10_000, size: Int = 10_000_000) -> [PlainField]? {
        var block = HeaderBlock()
        guard let outcome = try? decoder.decode(bytes.span, into: &block, countLimit: count, byteLimit: size) else {
            return nil
        }
        isMalformed = outcome.isMalformed
        isOversized = outcome.isOversized
        return plain(block)
    }

    func shrink() { decoder.shrink() }
}

final class OwnEncoder {
    private var encoder: HPACKEncoder

    init(capacity: Int = 4_096) { encoder = HPACKEncoder(capacity: capacity) }

    func limit(_ size: Int) { encoder.limit(size) }

    func encode(_ fields: [PlainField], replacing: HeaderName = .other, with value: StaticString = "") -> [UInt8] {
        let block = headerBlock(fields)
        var output = ByteBuffer()
        encoder.encode(block, replacing: replacing, with: value, into: &output)
        return array(output.bytes)
    }
}

/// nghttp2's encoder.
@safe
final class Deflater {
    private let handle: OpaquePointer

    init(capacity: Int = 4_096) {
        var made: OpaquePointer?
        // SAFETY: the library fills the pointer; tests end where there is no memory.
        unsafe precondition(nghttp2_hd_deflate_new(&made, capacity) == 0)
        unsafe handle = made.unsafelyUnwrapped
    }

    deinit { unsafe nghttp2_hd_deflate_del(handle) }

    func resize(_ size: Int) { unsafe precondition(nghttp2_hd_deflate_change_table_size(handle, size) == 0) }

    func encode(_ fields: [PlainField]) -> [UInt8] {
        var bytes: [UInt8] = []
        for field in fields { bytes += field.name + field.value }
        bytes.append(0)
        // SAFETY: the library reads names and values during the call, and writes what the bound says at the most.
        return unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            var offset = 0
            var entries: [nghttp2_nv] = unsafe []
            for field in fields {
                let name = unsafe buffer.baseAddress.unsafelyUnwrapped + offset
                let flags = field.isSensitive ? UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) : 0
                unsafe entries.append(
                    nghttp2_nv(
                        name: name, value: name + field.name.count, namelen: field.name.count,
                        valuelen: field.value.count, flags: flags))
                offset += field.name.count + field.value.count
            }
            let bound = unsafe nghttp2_hd_deflate_bound(handle, entries, entries.count) + 32
            return unsafe [UInt8](unsafeUninitializedCapacity: bound) { room, count in
                unsafe count = nghttp2_hd_deflate_hd(handle, room.baseAddress, bound, entries, entries.count)
                precondition(count >= 0, "nghttp2 does not deflate")
            }
        }
    }
}

/// nghttp2's decoder.
@safe
final class Inflater {
    private let handle: OpaquePointer

    init() {
        var made: OpaquePointer?
        // SAFETY: the library fills the pointer; tests end where there is no memory.
        unsafe precondition(nghttp2_hd_inflate_new(&made) == 0)
        unsafe handle = made.unsafelyUnwrapped
    }

    deinit { unsafe nghttp2_hd_inflate_del(handle) }

    func resize(_ size: Int) { unsafe precondition(nghttp2_hd_inflate_change_table_size(handle, size) == 0) }

    /// Nil for an error.
    func decode(_ bytes: [UInt8]) -> [PlainField]? {
        var fields: [PlainField] = []
        var bytes = bytes
        let count = bytes.count
        bytes.append(0)
        // SAFETY: the library reads `count` bytes; a field it emits is valid until the next call and copied here.
        return unsafe bytes.withUnsafeBufferPointer { buffer in
            var place = 0
            while true {
                var field = unsafe nghttp2_nv()
                var flags: Int32 = 0
                let read = unsafe nghttp2_hd_inflate_hd2(
                    handle, &field, &flags, buffer.baseAddress.unsafelyUnwrapped + place, count - place, 1)
                guard read >= 0 else { return nil }
                place += read
                if UInt32(flags) & NGHTTP2_HD_INFLATE_EMIT.rawValue != 0 {
                    let name = unsafe [UInt8](UnsafeBufferPointer(start: field.name, count: field.namelen))
                    let value = unsafe [UInt8](UnsafeBufferPointer(start: field.value, count: field.valuelen))
                    let isNever = unsafe UInt32(field.flags) & NGHTTP2_NV_FLAG_NO_INDEX.rawValue != 0
                    fields.append(.init(name, value, sensitive: isNever))
                }
                if UInt32(flags) & NGHTTP2_HD_INFLATE_FINAL.rawValue != 0 {
                    unsafe nghttp2_hd_inflate_end_headers(handle)
                    return fields
                }
                if read == 0, UInt32(flags) & NGHTTP2_HD_INFLATE_EMIT.rawValue == 0 { return nil }
            }
        }
    }
}
