import Redirect
import Settings
import Testing

@Suite struct RedirectTests {
    private func settings(_ words: String) throws -> RedirectSettings {
        let command = try ProxyCommand.parse(["redirect"] + words.split(separator: " ").map(String.init)) { _ in nil }
        guard case .redirect(let settings) = command else { throw Wrong() }
        return settings
    }

    private struct Wrong: Error {}

    @Test func everyOutboundConnectionButOwnAndLoopbackGoesToTheSidecar() throws {
        let text = RedirectRules(try settings("--print"), .ipv4).apply()
        #expect(
            text == """
                *nat
                :MESHFED_INBOUND - [0:0]
                :MESHFED_OUTBOUND - [0:0]
                :MESHFED_DNS - [0:0]
                -I PREROUTING 1 -p tcp -j MESHFED_INBOUND
                -I OUTPUT 1 -p tcp -j MESHFED_OUTBOUND
                -A MESHFED_INBOUND -p tcp -m tcp --dport 15006 -j RETURN
                -A MESHFED_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
                -A MESHFED_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
                -A MESHFED_INBOUND -p tcp -j REDIRECT --to-ports 15006
                -A MESHFED_OUTBOUND -m owner --uid-owner 1337 -j RETURN
                -A MESHFED_OUTBOUND -o lo -j RETURN
                -A MESHFED_OUTBOUND -p tcp -j REDIRECT --to-ports 15001
                COMMIT

                """)
    }

    @Test func rangesStandInTheirOwnFamilyOnly() throws {
        let wanted = try settings("--apply --exclude-outbound-cidrs 10.0.0.0/8,2001:db8::/32 --mark 0x539 --dns")
        let four = RedirectRules(wanted, .ipv4).apply()
        let six = RedirectRules(wanted, .ipv6).apply()
        #expect(four.contains("-d 10.0.0.0/8 -j RETURN") && !four.contains("2001:"))
        #expect(six.contains("-d 2001:db8::/32 -j RETURN") && !six.contains("10.0.0.0"))
        #expect(four.contains("-m mark --mark 0x539 -j RETURN") && !four.contains("uid-owner"))
        #expect(four.contains("-A MESHFED_DNS -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053"))
    }

    @Test func applyingAgainReplacesTheJumps() throws {
        let table = NATTable(
            """
            -P PREROUTING ACCEPT
            -P OUTPUT ACCEPT
            -N MESHFED_INBOUND
            -N MESHFED_OUTBOUND
            -A PREROUTING -p tcp -j MESHFED_INBOUND
            -A OUTPUT -p tcp -j MESHFED_OUTBOUND
            -A MESHFED_OUTBOUND -p tcp -j REDIRECT --to-ports 15001
            """)
        #expect(table.ownJumps == ["PREROUTING -p tcp -j MESHFED_INBOUND", "OUTPUT -p tcp -j MESHFED_OUTBOUND"])
        #expect(table.ownChains == ["MESHFED_INBOUND", "MESHFED_OUTBOUND"])
        #expect(table.obstacle == nil)
        let text = RedirectRules(try settings("--apply"), .ipv4).apply(replacing: table.ownJumps)
        #expect(text.contains("-D OUTPUT -p tcp -j MESHFED_OUTBOUND\n"))
        let gone = RedirectRules.remove(table.ownJumps, chains: table.ownChains)
        #expect(gone.contains("-D PREROUTING") && gone.contains("-X MESHFED_INBOUND"))
        #expect(RedirectRules.remove([], chains: []).isEmpty)
    }

    @Test func anotherMeshStandsInTheWayAndAnEnginesResolverDoesNot() {
        let istio = NATTable(
            "-N ISTIO_OUTPUT\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001")
        #expect(istio.obstacle == "-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001")
        let engine = NATTable(
            "-N DOCKER_OUTPUT\n-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT\n"
                + "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:4242")
        #expect(engine.obstacle == nil)
    }

    @Test(arguments: [
        "", "--print --apply", "--print --uid root", "--print --mark 0", "--print --exclude-outbound-cidrs 10.0.0.0/33",
        "--print --exclude-inbound-ports 70000", "--print --family ipx", "--print --include-inbound-ports 80,", "run",
    ]) func wrongFlagsAreRefused(_ words: String) {
        #expect(throws: SettingsError.self) { try settings(words) }
    }
}
