internal import MeshModel

/// The values given for one command, and the readers that judge them. Each names the flag or the variable it came by.
package struct FlagValues: Sendable {
    let table: FlagTable
    var given: [String: [String]] = [:]
    /// Flags whose value came from the environment.
    var variables: Set<String> = []
    var dash = false

    init(table: FlagTable) { self.table = table }

    func has(_ name: String) -> Bool { given[name] != nil }

    func text(_ name: String) -> String? { given[name]?.first }

    func all(_ name: String) -> [String] { given[name] ?? [] }

    /// The flag or the variable, as the user gave it.
    func key(_ name: String) -> String {
        variables.contains(name) ? table.flags.first { $0.name == name }?.variable ?? name : "--\(name)"
    }

    func error(_ name: String, _ what: String, _ advice: String? = nil) -> SettingsError {
        let example = table.flags.first { $0.name == name }.map { "\($0.example)" } ?? ""
        return table.error(key(name), what, advice ?? example)
    }

    func missing(_ name: String) -> SettingsError {
        let example = table.flags.first { $0.name == name }?.example ?? ""
        return table.error("--\(name)", "is missing", "--\(name) \(example)")
    }

    func required(_ name: String) throws(SettingsError) -> String {
        guard let value = text(name) else { throw missing(name) }
        return value
    }

    /// A path; a directory or file is looked for later, by its reader.
    func path(_ name: String) throws(SettingsError) -> String? {
        guard let value = text(name) else { return nil }
        guard !value.isEmpty, !value.utf8.contains(0), value.utf8.count <= 4_096 else {
            throw error(name, "\(shown(value)) is no path")
        }
        return value
    }

    func label(_ name: String) throws(SettingsError) -> Label? {
        guard let value = text(name) else { return nil }
        guard let label = Label(value) else {
            throw error(name, "\(shown(value)) is no name (1 to 63 of a-z, 0-9 and -)")
        }
        return label
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let value = text(name) else { return nil }
        guard let number = Self.number(value), range.contains(number) else {
            throw error(name, "\(shown(value)) is no number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A switch: given, or a variable that says so.
    func flag(_ name: String) throws(SettingsError) -> Bool {
        switch text(name) {
        case nil, "false", "0": return false
        case "true", "1": return true
        case let value?: throw error(name, "\(shown(value)) is neither true nor false", "true")
        }
    }

    /// Bytes: `268435456`, `262144KiB`, `256MiB`, `1GiB`.
    func size(_ name: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let value = text(name) else { return nil }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
        let unit = units.first { value.hasSuffix($0.0) }
        let digits = String(value.dropLast(unit?.0.count ?? 0))
        guard let number = Self.number(digits, digits: 13) else {
            throw error(name, "\(shown(value)) is no size (bytes, or with KiB, MiB, GiB)")
        }
        let (bytes, isTooLarge) = number.multipliedReportingOverflow(by: 1 << (unit?.1 ?? 0))
        guard !isTooLarge, range.contains(bytes) else {
            throw error(
                name, "\(shown(value)) is not from \(range.lowerBound >> 20)MiB to \(range.upperBound >> 30)GiB")
        }
        return bytes
    }

    func duration(_ name: String, in range: ClosedRange<Duration>) throws(SettingsError) -> Duration? {
        guard let value = text(name) else { return nil }
        guard let duration = Duration(gep2257: value), range.contains(duration) else {
            throw error(
                name,
                "\(shown(value)) is no duration from \(range.lowerBound.gep2257) to \(range.upperBound.gep2257)")
        }
        return duration
    }

    func logFormat() throws(SettingsError) -> LogFormat {
        guard let value = text("log-format") else { return .text }
        switch value {
        case "text": return .text
        case "json": return .json
        default: throw error("log-format", "\(shown(value)) is no log format", "text or json")
        }
    }

    func listener(_ name: String, default fallback: String, loopbackOnly: Bool = false) throws(SettingsError)
        -> ListenAddress
    {
        try listener(text(name) ?? fallback, name, loopbackOnly: loopbackOnly)
    }

    func listener(_ value: String, _ name: String, loopbackOnly: Bool) throws(SettingsError) -> ListenAddress {
        guard let address = ListenAddress(value) else {
            throw error(name, "\(shown(value)) is no address with a port (IPv4 or [IPv6], port 0 picks one)")
        }
        guard !loopbackOnly || address.isLoopback else {
            throw error(name, "\(address) is no loopback address; anything wider would lend out this pod's identity")
        }
        return address
    }

    func locality() throws(SettingsError) -> Locality {
        for name in ["region", "zone"] {
            guard let value = text(name) else { continue }
            let bytes = Array(value.utf8)
            guard !bytes.isEmpty, bytes.count <= 63, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x2F }) else {
                throw error(name, "\(shown(value)) is no \(name) (1 to 63 printable characters, no slash)")
            }
        }
        let region = text("region") ?? ""
        let zone = text("zone") ?? ""
        guard zone.isEmpty || !region.isEmpty else { throw error("zone", "has no region", "--region beside it") }
        return Locality(region: region, zone: zone)
    }

    /// Decimal digits only: no sign, no space, no leading zero.
    static func number(_ text: String, digits: Int = 9) -> Int? {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, bytes.count <= digits, first != 0x30 || bytes.count == 1 else { return nil }
        var value = 0
        for byte in bytes {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }
}
