import Feed
import Identity
import MeshModel
import MeshTestKit
import RPC
import Testing
import Wire

@Suite struct IdentityKeeperTests {
    @Test func aTokenBecomesAnSVIDOnDisk() throws {
        let office = try Office()
        let keeper = try office.keeper(try office.directory(), try office.token())
        var seen: SVID?
        keeper.onSVID = { seen = $0 }
        try keeper.start()
        office.run { seen != nil }
        #expect(seen?.id.description == office.name)
        #expect(keeper.brokerAddresses == [office.mtls])
        for file in ["key.pem", "svid.pem", "enrolment.json"] { #expect(office.mode(file) == 0o600) }
        #expect(office.mode("") == 0o700)
    }

    @Test func aRestartNeedsNoToken() throws {
        let office = try Office()
        do {
            let keeper = try office.keeper(try office.directory(), try office.token())
            try keeper.start()
            office.run { keeper.svid != nil }
            keeper.stop()
        }
        let again = try office.keeper(try office.directory(), nil)
        var seen: SVID?
        again.onSVID = { seen = $0 }
        try again.start()
        office.run { seen != nil }
        #expect(office.enrolKeys.count == 1)
        #expect(again.cluster?.description == "east")
        #expect(again.ownBundle == office.mint.bundle())
    }

    @Test func aRetryBringsTheSameKey() throws {
        let office = try Office()
        office.failures = 2
        let keeper = try office.keeper(try office.directory(), try office.token())
        var problems: [FeedError] = []
        keeper.onProblem = { problems.append($0) }
        try keeper.start()
        office.run { keeper.svid != nil }
        #expect(office.enrolKeys.count == 3 && Set(office.enrolKeys).count == 1)
        #expect(problems.count == 1 && problems[0].isTemporary)
        #expect(keeper.problem == nil)
    }

    @Test func aRefusedTokenIsFinal() throws {
        let office = try Office()
        office.failures = 100
        office.failure = .permissionDenied
        let keeper = try office.keeper(try office.directory(), try office.token())
        var problem: FeedError?
        keeper.onProblem = { problem = $0 }
        try keeper.start()
        office.run { problem != nil }
        #expect(problem?.isTemporary == false)
        #expect(problem?.description.contains("token_used") == true)
    }

    @Test func anotherRootGetsNoSecret() throws {
        let office = try Office()
        let token = try office.token(pin: SHA256.hash([1, 2, 3]))
        let keeper = try office.keeper(try office.directory(), token)
        var problem: FeedError?
        keeper.onProblem = { problem = $0 }
        try keeper.start()
        office.run { problem != nil }
        #expect(problem?.description.contains("another root") == true)
        #expect(office.enrolKeys.isEmpty)
    }

    @Test func aServerThatIsNoBrokerGetsNoSecret() throws {
        let office = try Office(serverID: "meshfed/gateway/g7")
        let keeper = try office.keeper(try office.directory(), try office.token())
        var problem: FeedError?
        keeper.onProblem = { problem = $0 }
        try keeper.start()
        office.run { problem != nil }
        #expect(problem?.description.contains("meshfed/gateway/g7") == true)
        #expect(office.enrolKeys.isEmpty)
    }

    @Test func tokensForOthersAreRefusedBeforeTheyAreSent() throws {
        let office = try Office()
        let directory = try office.directory()
        let wrong = [
            try office.token(.sidecar), try office.token(lasts: -60),
            try office.token(subject: "spiffe://east.mesh/meshfed/gateway/g2"),
        ]
        for token in wrong {
            let error = #expect(throws: FeedError.self) { try office.keeper(directory, token).start() }
            #expect(
                error?.advice.contains("meshfed token create --for gateway --name g1") == true
                    || error?.advice.contains("--for gateway") == true)
        }
        #expect(throws: FeedError.self) { try office.keeper(directory, nil).start() }
    }

    @Test func anSVIDIsRenewedAtHalfLifeWithANewKey() throws {
        let office = try Office()
        // Past the latest moment that the jitter allows.
        office.life = (-9_000, 1_000)
        let keeper = try office.keeper(try office.directory(), try office.token())
        var seen: [SVID] = []
        keeper.onSVID = { seen.append($0) }
        try keeper.start()
        office.run { seen.count == 2 }
        #expect(office.issued.map(\.description) == [office.name])
        #expect(Set(office.enrolKeys).count == 2)
        #expect(seen[1].notAfter > seen[0].notAfter)
        #expect(office.mode("key.next.pem") == nil && office.mode("svid.next.pem") == nil)
        keeper.stop()
    }

    @Test func anSVIDThatRanOutIsRenewedByItsOldKey() throws {
        let office = try Office()
        do {
            let keeper = try office.keeper(try office.directory(), try office.token())
            try keeper.start()
            office.run { keeper.svid != nil }
            keeper.stop()
        }
        let old = try office.svid(office.name, life: (-90_000, -3_600))
        let directory = try office.directory()
        try directory.write("key.pem", try old.key.pem())
        try directory.write("svid.pem", old.pemChain)
        let keeper = try office.keeper(directory, nil)
        var seen: [SVID] = []
        keeper.onSVID = { seen.append($0) }
        try keeper.start()
        office.run { !seen.isEmpty }
        #expect(office.renewals == 1)
        #expect(seen.allSatisfy { $0.notAfter > office.loop.wall })
    }

    @Test func anSVIDThatRanOutLongAgoNeedsAToken() throws {
        let office = try Office()
        do {
            let keeper = try office.keeper(try office.directory(), try office.token())
            try keeper.start()
            office.run { keeper.svid != nil }
            keeper.stop()
        }
        let old = try office.svid(office.name, life: (-900_000, -8 * 86_400))
        let directory = try office.directory()
        try directory.write("key.pem", try old.key.pem())
        try directory.write("svid.pem", old.pemChain)
        let without = try office.keeper(directory, nil)
        var problem: FeedError?
        without.onProblem = { problem = $0 }
        try without.start()
        office.run { problem != nil }
        #expect(problem?.description.contains("7 days") == true)
        without.stop()
        let with = try office.keeper(directory, try office.token())
        var isNew = false
        with.onSVID = { isNew = $0.notAfter > office.loop.wall }
        try with.start()
        office.run { isNew }
    }

    @Test func aCrashWithinARenewalIsFinishedAtTheStart() throws {
        let office = try Office()
        do {
            let keeper = try office.keeper(try office.directory(), try office.token())
            try keeper.start()
            office.run { keeper.svid != nil }
            keeper.stop()
        }
        for keyMoved in [false, true] {
            let directory = try office.directory()
            let next = try office.svid(office.name, life: (-30, 86_400))
            try directory.write("svid.next.pem", next.pemChain)
            try directory.write(keyMoved ? "key.pem" : "key.next.pem", try next.key.pem())
            let keeper = try office.keeper(directory, nil)
            try keeper.start()
            #expect(keeper.svid?.leaf.der == next.leaf.der)
            #expect(office.mode("svid.next.pem") == nil && office.mode("key.next.pem") == nil)
            keeper.stop()
            office.run { true }
        }
    }

    @Test func standaloneKeepsWhatItIsGiven() throws {
        let office = try Office()
        let svid = try office.svid(office.name, life: (-30, 60))
        let keeper = IdentityKeeper.standalone(loop: office.loop, svid: svid)
        var seen: SVID?
        keeper.onSVID = { seen = $0 }
        try keeper.start()
        office.run { seen != nil }
        #expect(seen === svid)
    }
}
