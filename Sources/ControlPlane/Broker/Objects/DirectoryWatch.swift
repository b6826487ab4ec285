internal import Foundation
internal import Manifest
internal import MeshModel
internal import RPC

/// Looks at the configuration directory once per second and reads it when its files changed and then stood still for a look.
final class DirectoryWatch {
    /// One file as far as a change of it shows.
    private struct Mark: Hashable {
        let name: String
        let target: String
        let modified: Date?
        let size: Int
    }
    private static let interval = Duration.seconds(1)

    private unowned let broker: Broker
    private let path: String
    /// What was read last, nil for not by this object, and what was seen last.
    private var read: [Mark]?
    private var seen: [Mark]
    private var isReading = false

    /// Reads the directory once more soon: it may have changed since the start read it.
    init(_ broker: Broker, path: String) {
        self.broker = broker
        self.path = path
        seen = Self.marks(path)
        schedule()
    }

    private func schedule() { broker.loop.after(Self.interval) { [weak self] in self?.look() } }

    private func look() {
        defer { schedule() }
        let now = Self.marks(path)
        defer { seen = now }
        // A checkout writes many files: only what two looks found alike is read.
        guard now == seen, now != read, !isReading else { return }
        isReading = true
        read = now
        let path = path
        broker.desk.offload("config") { () -> Result<[MeshObject], ManifestError> in
            Self.objects(path)
        } then: { [weak self] outcome in
            guard let self else { return }
            isReading = false
            guard let outcome else {
                read = nil
                return
            }
            broker.objects.directoryRead(outcome)
        }
    }

    /// Reads it again whatever its marks say: a file that an object names may have changed.
    func reload() { read = nil }

    static func objects(_ path: String) -> Result<[MeshObject], ManifestError> {
        do throws(ManifestError) {
            return .success(try ConfigDirectory.objects(in: path))
        } catch {
            return .failure(error)
        }
    }

    /// Links are followed: a mounted ConfigMap changes the target of one link only. A directory that cannot be read is one
    /// mark of its own, so that its loss is noticed once.
    private static func marks(_ path: String) -> [Mark] {
        guard let names = try? ConfigDirectory.fileNames(in: path) else {
            return [Mark(name: "", target: "", modified: nil, size: -1)]
        }
        return names.map { name in
            let target = URL(fileURLWithPath: "\(path)/\(name)").resolvingSymlinksInPath().path
            let facts = try? FileManager.default.attributesOfItem(atPath: target)
            return Mark(
                name: name, target: target, modified: facts?[.modificationDate] as? Date,
                size: facts?[.size] as? Int ?? -1)
        }
    }
}
