internal import Containers

/// `grpc-status`, `grpc-message` and `grpc-timeout` as the gRPC protocol over HTTP/2 writes them.
package enum GRPCStatus: Int, Sendable {
    case ok = 0, cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
    case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, internalError, unavailable
    case dataLoss, unauthenticated

    /// A `grpc-status` value; nil when it is not one or two digits of a known code.
    package init?(_ value: Span<UInt8>) {
        guard value.count <= 2, let code = value.decimal else { return nil }
        self.init(rawValue: code)
    }

    /// The code that a caller sees when the answer carried none (gRPC, http-grpc-status-mapping).
    package init(httpStatus: Int) {
        switch httpStatus {
        case 400, 431: self = .internalError
        case 401: self = .unauthenticated
        case 403: self = .permissionDenied
        case 404: self = .unimplemented
        case 429, 502, 503, 504: self = .unavailable
        default: self = .unknown
        }
    }

    /// Appends a `grpc-message`: printable ASCII but `%` as it is, every other byte as `%XX`.
    package static func appendMessage(_ text: Span<UInt8>, to buffer: inout OutputBuffer) {
        for index in 0..<text.count {
            let byte = text[index]
            if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "%") {
                buffer.append(byte)
            } else {
                buffer.append(UInt8(ascii: "%"))
                buffer.append(hexDigit(byte >> 4))
                buffer.append(hexDigit(byte & 15))
            }
        }
    }

    /// Appends the bytes that a `grpc-message` stands for. Malformed escapes stay as they are, as the protocol asks.
    package static func appendDecoded(_ value: Span<UInt8>, to buffer: inout OutputBuffer) {
        var index = 0
        while index < value.count {
            if value[index] == UInt8(ascii: "%"), index + 2 < value.count, let high = value[index + 1].hexValue,
                let low = value[index + 2].hexValue
            {
                buffer.append(high << 4 | low)
                index += 3
            } else {
                buffer.append(value[index])
                index += 1
            }
        }
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 55 + value }
}

/// `grpc-timeout`: at most eight digits and a unit.
package enum GRPCTimeout {
    /// The nanoseconds that a value asks for, at most `Int64.max`; nil when it is malformed.
    package static func nanoseconds(_ value: Span<UInt8>) -> Int64? {
        guard value.count >= 2, value.count <= 9 else { return nil }
        var amount: Int64 = 0
        for index in 0..<(value.count - 1) {
            guard value[index].isDigit else { return nil }
            amount = amount * 10 + Int64(value[index] &- 48)
        }
        let unit: Int64
        switch value[value.count - 1] {
        case UInt8(ascii: "H"): unit = 3_600_000_000_000
        case UInt8(ascii: "M"): unit = 60_000_000_000
        case UInt8(ascii: "S"): unit = 1_000_000_000
        case UInt8(ascii: "m"): unit = 1_000_000
        case UInt8(ascii: "u"): unit = 1_000
        case UInt8(ascii: "n"): unit = 1
        default: return nil
        }
        let (product, overflow) = amount.multipliedReportingOverflow(by: unit)
        return overflow ? .max : product
    }

    /// Appends a timeout in the finest unit that eight digits hold, rounded down.
    package static func append(nanoseconds: Int64, to buffer: inout OutputBuffer) {
        let amount = max(0, nanoseconds)
        let units: [(Int64, UInt8)] = [
            (1, UInt8(ascii: "n")), (1_000, UInt8(ascii: "u")), (1_000_000, UInt8(ascii: "m")),
            (1_000_000_000, UInt8(ascii: "S")), (60_000_000_000, UInt8(ascii: "M")),
            (3_600_000_000_000, UInt8(ascii: "H")),
        ]
        for (size, letter) in units where amount / size <= 99_999_999 {
            buffer.append(decimal: Int(amount / size))
            buffer.append(letter)
            return
        }
    }
}
