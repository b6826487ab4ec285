package import MeshModel

/// The shared retry budget of one worker: a bucket per service, filled by requests and by time (PROTOCOLS section 4).
///
/// Over any time T with N requests, at most `reserve` + floor × T + share × N charged retries pass.
package struct RetryBudgets: ~Copyable {
    /// What a bucket may save up, in retries: ten seconds of the floor, and never fewer than 100 in one burst.
    static let minimumReserve: UInt64 = 100
    static let reserveSeconds: UInt64 = 10
    /// One retry in units of the bucket; a request pays in its percentage.
    private static let retryCost: UInt64 = 100

    private struct Bucket {
        var level: UInt64
        var updated: Instant
        var percent: UInt64
        var perSecond: UInt64

        var capacity: UInt64 { max(perSecond * RetryBudgets.reserveSeconds, RetryBudgets.minimumReserve) * retryCost }

        /// A request pays in.
        mutating func earn() { level = min(level + percent, capacity) }

        mutating func refill(_ now: Instant) {
            let elapsed = min((now - updated).wholeNanoseconds, 10_000_000_000)
            let gained = elapsed * perSecond / (1_000_000_000 / RetryBudgets.retryCost)
            // Below one unit the clock stays, so that frequent calls lose nothing.
            guard gained > 0 || elapsed >= 1_000_000_000 else { return }
            level = min(level + gained, capacity)
            updated = now
        }
    }

    private var stamp: UInt64 = 0
    private var buckets: [Bucket] = []
    private var places: [ServiceID: Int] = [:]

    package init() {}

    /// Takes over a new table: buckets of services that stay keep their level.
    package mutating func reconcile(with table: RoutingTable, now: Instant) {
        var fresh: [Bucket] = []
        var index: [ServiceID: Int] = [:]
        for service in table.snapshot.services {
            let percent = UInt64(min(max(service.traffic.retryBudgetPercent, 0), 100))
            let perSecond = UInt64(min(max(service.traffic.retryBudgetMinimumPerSecond, 0), 1_000_000))
            var bucket = Bucket(level: 0, updated: now, percent: percent, perSecond: perSecond)
            bucket.level = perSecond * Self.retryCost
            if let place = places[service.id] {
                bucket.level = min(buckets[place].level, bucket.capacity)
                bucket.updated = buckets[place].updated
            }
            index[service.id] = fresh.count
            fresh.append(bucket)
        }
        buckets = fresh
        places = index
        stamp = table.stamp
    }

    /// A request (not a retry) came.
    package mutating func requestStarted(_ destination: Destination) {
        guard let place = place(destination) else { return }
        buckets[place].earn()
    }

    /// Pays for one charged retry; false when the budget is spent.
    package mutating func withdraw(_ destination: Destination, now: Instant) -> Bool {
        guard let place = place(destination) else { return false }
        buckets[place].refill(now)
        guard buckets[place].level >= Self.retryCost else { return false }
        buckets[place].level -= Self.retryCost
        return true
    }

    private func place(_ destination: Destination) -> Int? {
        if destination.stamp == stamp {
            return destination.service >= 0 && destination.service < buckets.count ? destination.service : nil
        }
        return destination.service < 0 ? nil : places[destination.serviceID]
    }
}

/// A failed try, in the terms in which repeating it is decided.
package struct FailedTry: Hashable, Sendable {
    package enum Method: Hashable, Sendable {
        /// GET, HEAD, OPTIONS, PUT, DELETE.
        case repeatable
        case other
    }
    package enum Body: Hashable, Sendable {
        case none
        /// All that was read so far is kept (at most 64 KiB) and can be sent again.
        case kept
        case lost
    }
    package enum GRPC: Hashable, Sendable {
        case no
        case noMessageSent
        case messageSent
    }
    package enum Cause: Hashable, Sendable {
        /// A refused or reset connect: charged to nothing.
        case connect
        /// A connect that timed out or a TLS failure: charged, though no byte reached an app.
        case unreached
        /// REFUSED_STREAM, or a stream above GOAWAY's last.
        case refusedStream
        /// Broke off after the request was sent.
        case brokenOff
        /// One try took longer than `perTryTimeout`.
        case timedOut
        /// A proxy behind answered with `meshfed-error`.
        case answered(Reason)
    }

    package var method: Method
    package var body: Body
    package var grpc: GRPC
    package var cause: Cause
    /// False when no byte of the request can have reached an app.
    package var isDispatched: Bool
    package var isResponseStarted: Bool
    /// Charged attempts so far over all hops, this one included when it is charged.
    package var attempts: Int
    /// Free repeats so far on this hop.
    package var freeRepeats: Int

    package init(
        method: Method, body: Body, grpc: GRPC, cause: Cause, isDispatched: Bool, isResponseStarted: Bool,
        attempts: Int, freeRepeats: Int
    ) {
        self.method = method
        self.body = body
        self.grpc = grpc
        self.cause = cause
        self.isDispatched = isDispatched
        self.isResponseStarted = isResponseStarted
        self.attempts = attempts
        self.freeRepeats = freeRepeats
    }
}

/// Whether a failed try may be repeated on another candidate (PROTOCOLS section 4). Budget, deadline and candidates are
/// asked after it.
package enum RetryRules {
    package enum Answer: Hashable, Sendable {
        case no
        /// Costs neither budget nor attempt.
        case free
        /// Costs one of the service's budget and one attempt.
        case charged
    }

    /// Free repeats per hop.
    package static let maximumFreeRepeats = 5
    /// Attempts over all hops, whatever a policy says.
    package static let maximumAttempts = 3

    /// `allowed` is `TrafficSettings.maximumAttempts`.
    package static func judge(_ failed: FailedTry, allowed: Int) -> Answer {
        if failed.isResponseStarted || failed.body == .lost { return .no }
        if case .answered(let reason) = failed.cause, isFinal(reason) { return .no }
        switch failed.cause {
        case .connect: return failed.freeRepeats < maximumFreeRepeats ? .free : .no
        case .unreached, .refusedStream, .brokenOff, .timedOut, .answered: break
        }
        guard failed.attempts < min(max(allowed, 1), maximumAttempts) else { return .no }
        let isReached = failed.isDispatched && failed.cause != .refusedStream && failed.cause != .unreached
        if !isReached { return .charged }
        switch failed.grpc {
        case .noMessageSent: return .charged
        case .messageSent: return .no
        case .no: return failed.method == .repeatable ? .charged : .no
        }
    }

    /// Answers that another candidate would give too, or that are the owner's word.
    package static func isFinal(_ reason: Reason) -> Bool {
        switch reason {
        case .noRoute, .wrongAuthority, .notAllowed, .originMissing, .originInvalid, .originUnexpected, .rateLimited,
            .deadline, .loop, .requestInvalid, .tooLarge:
            true
        case .noEndpoint, .overload, .draining, .stale, .connectFailed, .connectTimeout, .upstreamTLS, .upstreamReset,
            .upstreamProtocol:
            false
        }
    }
}
