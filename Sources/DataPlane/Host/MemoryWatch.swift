internal import Reactor
internal import RPC

/// The memory that the process may use, and what the main thread does about it: tells the workers what the kernel holds beside
/// them, and gives freed memory back when it is short. The stages are the workers' own matter (`MemoryPressure`).
final class MemoryWatch {
    private static let interval = Duration.milliseconds(100)
    /// Percent of the limit from which freed memory is worth asking back, and how often: it takes milliseconds.
    private static let trimAbove = 70
    private static let trimEvery = 10

    /// Bytes; 0: no bound.
    let limit: Int
    /// The limit is the cgroup's, whose own count holds.
    private let isCgroup: Bool
    private var rounds = 0

    init(asked: Int?) {
        let machine = Machine.memoryLimit
        if let asked, asked < machine ?? .max {
            limit = asked
            isCgroup = false
        } else {
            limit = machine ?? 0
            isCgroup = machine != nil
        }
    }

    /// `tell` gets the bytes that count beside the resident memory, whenever they changed.
    func start(_ loop: RPCLoop, tell: @escaping (Int) -> Void) {
        guard limit > 0 else { return }
        look(loop, told: 0, tell)
    }

    private func look(_ loop: RPCLoop, told: Int, _ tell: @escaping (Int) -> Void) {
        loop.after(Self.interval) { [self] in
            rounds &+= 1
            let resident = Machine.residentMemory
            let beside = isCgroup ? max(0, Machine.cgroupMemory - resident) : 0
            if beside != told { tell(beside) }
            if rounds.isMultiple(of: Self.trimEvery), (resident + beside) / 100 >= limit / 100 * Self.trimAbove / 100 {
                Machine.trimMemory()
            }
            look(loop, told: beside, tell)
        }
    }
}
