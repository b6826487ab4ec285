internal import Glibc

/// The TCP sockets of this network namespace: are there any but our own?
enum PodSockets {
    private static let limit = 4_194_304

    /// True while some other process of the pod listens or has a connection. What only the kernel still holds (TIME_WAIT,
    /// FIN_WAIT) has no owner and does not count.
    static func hasOthers() -> Bool {
        let own = ownInodes()
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in read(path).split(separator: 0x0A).dropFirst() {
                let fields = line.split(separator: 0x20, omittingEmptySubsequences: true)
                // sl local rem st tx:rx tr:when retrnsmt uid timeout inode (proc(5)); no inode is nobody's.
                guard fields.count > 9, !fields[9].elementsEqual("0".utf8) else { continue }
                if !own.contains(Array(fields[9])) { return true }
            }
        }
        return false
    }

    private static func ownInodes() -> Set<[UInt8]> {
        var found: Set<[UInt8]> = []
        // SAFETY: the stream is ours until it is closed; an entry's name lives until the next one is read.
        guard let folder = unsafe opendir("/proc/self/fd") else { return found }
        defer { _ = unsafe closedir(folder) }
        var target = [UInt8](repeating: 0, count: 64)
        let head = Array("socket:[".utf8)
        while let entry = unsafe readdir(folder) {
            let count = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { name in
                    unsafe target.withUnsafeMutableBytes { room in
                        guard let start = unsafe room.baseAddress?.assumingMemoryBound(to: CChar.self) else {
                            return -1
                        }
                        return unsafe readlinkat(dirfd(folder), name, start, room.count)
                    }
                }
            }
            guard count > head.count, target.starts(with: head) else { continue }
            found.insert(Array(target[head.count..<(count - 1)]))
        }
        return found
    }

    private static func read(_ path: String) -> [UInt8] {
        // SAFETY: the path lives for the call; the room is written to during the call only.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        while bytes.count < limit {
            let count = unsafe room.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes += room.prefix(count)
        }
        return bytes
    }
}
