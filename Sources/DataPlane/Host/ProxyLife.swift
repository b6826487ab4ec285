internal import Feed
internal import Identity
internal import MeshModel
internal import Proxy
internal import Reactor
internal import RPC
internal import Settings

/// The beginning and the end of a proxy where another process of the same proxy stands before or after it, and the drain.
extension ProxyHost {
    // MARK: Taking over

    /// Decides by what the running process has stored, before a worker starts: what cannot be used ends this process, not that
    /// one.
    func prepareTakeover() throws(HostFailure) {
        guard takeover != nil else { return }
        guard let snapshot, let svid else { throw HostFailure("--takeover: there is nothing to serve by") }
        if let reason = plan.judge(snapshot, svid.id) { throw HostFailure("--takeover: \(reason)", status: 65) }
        // 0 is the generation of plain connections.
        generation = 1
        reconfigure()
        guard configuration != nil else { throw HostFailure("--takeover: the stored snapshot cannot be used") }
    }

    /// This process serves: the running one may go.
    func finishTakeover() throws(HostFailure) {
        guard let takeover else { return }
        let lock = try takeover.finish()
        self.takeover = nil
        guard let directory else { return }
        if let lock { return directory.adoptLock(lock) }
        do throws(FeedError) { try directory.acquireLock() } catch { throw HostFailure("\(error)") }
    }

    // MARK: Handing over

    func openHandover() {
        guard let path = HandoverWords.path(plan.proxy) else { return }
        do throws(SocketError) {
            handoverPoint = try HandoverPoint(
                loop: loop, path: path,
                estate: { [unowned self] in
                    HandoverPoint.Estate(sockets: crew.sockets + otherSockets, lock: directory?.lockDescriptor)
                }, onTaken: { [unowned self] in handOver() })
        } catch {
            Notice.write("\(plan.word): nobody can take over from this process: \(error)")
        }
    }

    /// Another process serves on the same sockets: this one finishes what it has and ends. It leaves the state directory and
    /// the place in the catalog to the other one, and hears the broker on, for evictions concern what is open here, too.
    private func handOver() {
        isHandedOver = true
        Notice.write("\(plan.word): handed over")
        keeper.stop()
        feed?.retire()
        directory?.releaseLock()
        loop.closeListeners()
        plan.onHandedOver?()
        drain()
    }

    // MARK: The end

    /// How often it is looked whether the app has ended.
    private static let appInterval = Duration.milliseconds(200)

    /// Readiness goes, the broker hears it, the workers let what is under way end. A second signal, or `quitquitquit`, is
    /// the end of waiting for the app.
    func drain(waitsForApp: Bool = false) {
        if !isDraining {
            isDraining = true
            handoverPoint?.close()
            Notice.write("\(plan.word): draining")
            if !isHandedOver { feed?.drain() }
            if waitsForApp {
                crew.post(.drainInbound)
                appDeadline = loop.now + plan.capture.drain
                return awaitApp()
            }
        }
        guard !isEnding else { return }
        isEnding = true
        crew.post(isHandedOver ? .handOver : .drain)
        // Should a worker hang, the grace period ends the process all the same.
        loop.after(plan.proxy.grace + .seconds(1)) { [unowned self] in stop() }
    }

    /// Outbound goes on as long as the app has a socket in this network namespace, up to the deadline.
    private func awaitApp() {
        guard !isEnding else { return }
        guard loop.now < appDeadline, PodSockets.hasOthers() else { return drain() }
        loop.after(Self.appInterval) { [unowned self] in awaitApp() }
    }

    func workerEnded() {
        workersLeft -= 1
        if workersLeft == 0 { stop() }
    }

    private func stop() {
        feed?.stop()
        keeper.stop()
        loop.stop(grace: .milliseconds(300))
    }
}
