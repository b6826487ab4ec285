import ArgumentParser
import Glibc
import Identity
import MeshModel

/// `meshfed svid show`: an identity in files, without a broker.
struct SVIDCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "svid", abstract: "Look at the identity of a proxy.",
        discussion: "EXAMPLE\n  meshfed svid show --state-dir /var/lib/meshfed/gw-1",
        subcommands: [Show.self, Enrol.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print who an SVID is for and how long.",
            discussion: """
                EXAMPLES
                  meshfed svid show --state-dir /var/lib/meshfed/gw-1
                  meshfed svid show --svid gw.pem
                """)

        @Option(help: "State directory of a gateway or sidecar.") var stateDir: String?
        @Option(help: "A certificate chain in PEM, leaf first.") var svid: String?
        @OptionGroup var output: OutputOption

        func validate() throws {
            if (stateDir == nil) == (svid == nil) { throw ValidationError("give --state-dir DIR or --svid PEM") }
        }

        func run() throws {
            let path = svid ?? "\(stateDir ?? ".")/svid.pem"
            let text = try Files.read(path, limit: PEM.maximumLength)
            var chain: [Certificate] = []
            do throws(IdentityError) {
                for der in try PEM.certificates(text) { chain.append(try Certificate(der: der)) }
            } catch {
                throw CommandFailure("\(path): \(error); give a certificate chain in PEM", kind: .badFile)
            }
            guard let leaf = chain.first else { return }
            guard let id = leaf.spiffeID else {
                throw CommandFailure(
                    "\(path): the first certificate has no single SPIFFE ID; give the leaf first", kind: .badFile)
            }
            let key = try keyState(of: leaf)
            let now = Int64(time(nil))
            let state =
                leaf.notAfter.seconds < now ? "expired" : leaf.notBefore.seconds > now ? "not valid yet" : "valid"
            output.print(
                .record([
                    ("id", .text("\(id)")), ("trustDomain", .text("\(id.trustDomain)")), ("state", .text(state)),
                    ("notBefore", TimeWords.value(leaf.notBefore.seconds)),
                    ("notAfter", TimeWords.value(leaf.notAfter.seconds)), ("serial", .text(Hex.encode(leaf.serial))),
                    ("fingerprint", .text(Hex.encode(leaf.fingerprint))), ("chain", .number(Int64(chain.count))),
                    ("key", key.map(OutputValue.text) ?? .nothing), ("file", .text(path)),
                ])
            ) { wide in
                var lines = [
                    ("id", "\(id)"), ("state", state),
                    ("valid from", TimeWords.stamp(leaf.notBefore.seconds)),
                    (
                        "valid until",
                        "\(TimeWords.stamp(leaf.notAfter.seconds)) (\(TimeWords.distance(leaf.notAfter.seconds, now: now)))"
                    ), ("serial", Hex.encode(leaf.serial)),
                ]
                if wide {
                    lines.append(("fingerprint", Hex.encode(leaf.fingerprint)))
                    lines.append(("certificates", "\(chain.count)"))
                }
                if let key { lines.append(("key", key)) }
                return KeyedLines.text(lines)
            }
        }

        /// Whether the key beside it belongs to the leaf; nil without a state directory.
        private func keyState(of leaf: Certificate) throws(CommandFailure) -> String? {
            guard let stateDir else { return nil }
            let path = "\(stateDir)/key.pem"
            let text = try Files.readSecret(path, limit: PEM.maximumLength)
            do throws(IdentityError) {
                let key = try PrivateKey(pem: text)
                return key.publicKey == leaf.publicKey ? "belongs to it" : "is another's"
            } catch {
                throw CommandFailure("\(path): \(error); remove the state directory and enrol anew", kind: .badFile)
            }
        }
    }
}

/// `name  value` lines with aligned values.
enum KeyedLines {
    static func text(_ lines: [(String, String)]) -> String {
        let width = lines.map { $0.0.utf8.count }.max() ?? 0
        return lines.map { name, value in
            name + String(repeating: " ", count: width - name.utf8.count + 2) + value + "\n"
        }.joined()
    }
}
