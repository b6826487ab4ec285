import MeshModel

/// Mistakes that can be built into the test kit's own parts, one for each invariant, to prove that the oracle sees them.
enum SeededBug: String, CaseIterable, Sendable {
    /// A proxy keeps the routes of the snapshot before.
    case routesToTheExcluded
    /// A broker's proxies hear of evictions with the next minute's snapshot.
    case keepsTheEvicted
    /// A proxy goes on after its SVID ended.
    case outlivesItsSVID
    /// A broker acts before its rows are durable.
    case visibleBeforeDurable
    /// A sponsor's single-use token is looked at, never used up.
    case forgetsTheUse
    /// A reusable token that is used up is answered by a new one.
    case countsNoUses
    /// A broker takes no catalogs after the first half of a run.
    case deafToCatalogs
    /// A broker believes the cluster name in a Hello instead of the SVID of the session.
    case believesTheHello
}

/// What must hold; a violation names one of these.
enum Invariant: String, CaseIterable, Sendable {
    case routesWithinTheSnapshot
    case nothingToTheEvicted
    case nothingWithoutSVID
    case sequencesNeverFall
    case singleUseAdmitsOne
    case reusableAdmitsAtMostN
    case allAgreeAfterHealing
    case membersDescribeOnlyThemselves
}

extension SeededBug {
    /// The invariant that this bug breaks.
    var breaks: Invariant {
        switch self {
        case .routesToTheExcluded: .routesWithinTheSnapshot
        case .keepsTheEvicted: .nothingToTheEvicted
        case .outlivesItsSVID: .nothingWithoutSVID
        case .visibleBeforeDurable: .sequencesNeverFall
        case .forgetsTheUse: .singleUseAdmitsOne
        case .countsNoUses: .reusableAdmitsAtMostN
        case .deafToCatalogs: .allAgreeAfterHealing
        case .believesTheHello: .membersDescribeOnlyThemselves
        }
    }
}

/// What the oracle found.
struct Violation: Error, CustomStringConvertible {
    let invariant: Invariant
    let time: Instant
    let text: String

    var description: String {
        "\(invariant.rawValue) broken at \(Double(time.nanoseconds) / 1e9) s: \(text)"
    }
}
