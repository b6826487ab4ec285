internal import Proxy
internal import Reactor
internal import RPC
internal import Settings

/// The workers of a process: started with their listeners, spoken to by letters.
final class WorkerCrew {
    let mailboxes: [WorkerMailbox]
    /// The bound addresses, in the order of the plan.
    private(set) var addresses: [SocketAddress] = []
    private var descriptors: [[(descriptor: Int32, role: Int)]]
    private let settings: WorkerSettings
    /// Every bound socket with the name of its listener; of no use once the workers drain.
    private(set) var sockets: [(name: String, descriptor: Int32)] = []

    /// Binds every listener once for each worker, or takes what is inherited of it. An address that anybody else listens on is
    /// refused.
    init(
        count: Int, settings: WorkerSettings, listening: [HostPlan.Listening], inherited: Inheritance?
    ) throws(HostFailure) {
        self.settings = settings
        var boxes: [WorkerMailbox] = []
        do throws(SocketError) {
            for _ in 0..<count { boxes.append(try WorkerMailbox()) }
        } catch {
            throw HostFailure("cannot start a worker: \(error)")
        }
        mailboxes = boxes
        descriptors = Array(repeating: [], count: count)
        for (role, entry) in listening.enumerated() {
            let left = inherited?.take(entry.name) ?? []
            if left.isEmpty {
                guard let address = SocketAddress(ip: entry.address.host, port: entry.address.port) else {
                    throw HostFailure("cannot listen on \(entry.address): no address of this machine")
                }
                try bind(address, role: role)
            } else {
                adopt(left, role: role)
            }
            for descriptor in descriptors.joined() where descriptor.role == role {
                sockets.append((entry.name, descriptor.descriptor))
            }
        }
    }

    /// None may be left without a worker: the kernel gives each its part of the connections.
    private func adopt(_ inherited: [Int32], role: Int) {
        for (index, descriptor) in inherited.enumerated() {
            if index == 0, let address = ListenerSocket.address(of: descriptor) { addresses.append(address) }
            descriptors[index % mailboxes.count].append((descriptor, role))
        }
    }

    private func bind(_ address: SocketAddress, role: Int) throws(HostFailure) {
        do throws(SocketError) {
            if address.port != 0 { try ListenerSocket.probe(address) }
            let first = try ListenerSocket.bind(address, reusePort: mailboxes.count > 1)
            let bound = first.address ?? address
            addresses.append(bound)
            descriptors[0].append((first.release(), role))
            for worker in mailboxes.indices.dropFirst() {
                descriptors[worker].append((try ListenerSocket.bind(bound, reusePort: true).release(), role))
            }
        } catch {
            let advice =
                error.isAddressInUse ? "; another process listens there: stop it, or choose another port" : ""
            throw HostFailure("cannot listen on \(address): \(error.text)\(advice)")
        }
    }

    /// Starts the threads. `ended` is called on each worker's thread when its worker has drained.
    func start(ended: @escaping @Sendable () -> Void) throws(HostFailure) {
        for worker in mailboxes.indices {
            var own = settings
            own.sampleSeed = settings.sampleSeed &+ UInt64(worker) &* 0x9E37_79B9_7F4A_7C15
            // A worker without a socket of its own lives by what others hand it.
            let isShort = descriptors.contains { $0.count < settings.entries.count }
            if mailboxes.count > 1, settings.isGateway || isShort { own.crew = mailboxes }
            let mailbox = mailboxes[worker]
            let listeners = descriptors[worker]
            let constant = own
            do throws(SocketError) {
                try WorkerThread.start(name: "worker \(worker)") {
                    WorkerCrew.work(constant, mailbox, listeners)
                    ended()
                }
            } catch {
                throw HostFailure("cannot start a worker: \(error)")
            }
        }
        descriptors = []
    }

    private static func work(
        _ settings: WorkerSettings, _ mailbox: WorkerMailbox, _ listeners: [(descriptor: Int32, role: Int)]
    ) {
        do throws(SocketError) {
            var worker = try Worker(settings: settings, mailbox: mailbox)
            for (descriptor, role) in listeners {
                try worker.listen(ListenerSocket(adopting: descriptor), role: role)
            }
            worker.run()
        } catch {
            Notice.write("worker: \(error)")
        }
    }

    func post(_ letter: WorkerLetter) { for mailbox in mailboxes { mailbox.post(letter) } }

    /// Asks every worker; `done` gets their reports on the loop's thread, when the last one came.
    func gather(_ loop: RPCLoop, _ done: @escaping ([WorkerReport]) -> Void) {
        let gathering = RPCBound(Gathering(count: mailboxes.count, done: done))
        let inbox = loop.inbox
        post(
            .report { report in
                inbox.post { gathering.value.add(report) }
            })
    }

    /// Reports on their way; used on the loop's thread only.
    private final class Gathering {
        private var missing: Int
        private var reports: [WorkerReport] = []
        private let done: ([WorkerReport]) -> Void

        init(count: Int, done: @escaping ([WorkerReport]) -> Void) {
            missing = count
            self.done = done
        }

        func add(_ report: WorkerReport) {
            reports.append(report)
            missing -= 1
            if missing == 0 { done(reports) }
        }
    }
}
