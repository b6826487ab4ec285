internal import Glibc
internal import MeshModel

/// The host that tokens and the membership record carry when `--advertise` does not say.
enum OwnAddress {
    /// The first address of this machine that others could dial, IPv4 before IPv6; `127.0.0.1` where there is none.
    static func first() -> String {
        let all = all()
        return all.first { !$0.utf8.contains(0x3A) } ?? all.first ?? "127.0.0.1"
    }

    /// Addresses of interfaces that are up, without loopback and link-local ones, in the system's order.
    private static func all() -> [String] {
        var list: UnsafeMutablePointer<ifaddrs>?
        // SAFETY: the list is read below and freed before return.
        guard unsafe getifaddrs(&list) == 0 else { return [] }
        defer { unsafe freeifaddrs(list) }
        var found: [String] = []
        var next = unsafe list
        // SAFETY: each entry is live until freeifaddrs; its address is read in its family's layout.
        while let entry = unsafe next {
            unsafe next = entry.pointee.ifa_next
            guard let address = unsafe entry.pointee.ifa_addr else { continue }
            let family = unsafe Int32(address.pointee.sa_family)
            guard family == AF_INET || family == AF_INET6 else { continue }
            let length = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard
                unsafe getnameinfo(
                    address, socklen_t(length), &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
            else { continue }
            let name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            // A zone (`%eth0`) marks a link-local address, which means nothing to others.
            guard MeshModel.IPLiteral.isUnicast(name), !MeshModel.IPLiteral.isLoopback(name),
                !name.hasPrefix("169.254."), !name.hasPrefix("fe80")
            else { continue }
            found.append(name)
        }
        return found
    }
}
