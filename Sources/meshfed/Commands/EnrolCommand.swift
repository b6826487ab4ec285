import ArgumentParser
import ControlCoding
import Foundation
import Identity
import MeshModel
import RPC
import TLS
import Wire

extension SVIDCommand {
    /// `meshfed svid enrol`: an SVID for a person, or for a proxy that is not meshfed's.
    struct Enrol: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Turn a token into an SVID in files: svid.pem, key.pem and bundle.pem.",
            discussion: """
                Gateways and sidecars of meshfed do this by themselves. After a failure the same call goes on with the same \
                key, so that a token is not lost.

                EXAMPLE
                  meshfed svid enrol --token-file ann.token --out-dir ~/.meshfed
                  meshfed status --broker https://east.example:15012 --svid ~/.meshfed/svid.pem \
                --key ~/.meshfed/key.pem --bundle ~/.meshfed/bundle.pem
                """)

        @Argument(help: "The token, or - for standard input; --token-file keeps it out of `ps`.") var token: String?
        @Option(help: "The file that holds the token.") var tokenFile: String?
        @Option(help: "Where the files go; made (0700) where it is not there.") var outDir: String
        @OptionGroup var output: OutputOption

        func run() throws {
            let token = try TokenInput.read(argument: token, file: tokenFile)
            guard token.purpose != .federation else {
                throw CommandFailure("this token is for joining; use it with meshfed join", kind: .badFile)
            }
            do {
                try FileManager.default.createDirectory(
                    atPath: outDir, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            } catch {
                throw CommandFailure("cannot make \(outDir); check the path and its rights")
            }
            do {
                let key = try keptKey()
                let request = try CertificateRequest.make(key: key)
                let answer = try Self.enrol(token, request)
                // Judged as a proxy would: the chain must be an SVID of this key.
                let svid = try SVID(chainDER: answer.chain, key: key)
                try Files.writePrivate(svid.pemChain, to: "\(outDir)/svid.pem")
                try Files.writePrivate(PEM.encode(certificates: answer.bundle.roots), to: "\(outDir)/bundle.pem")
                report(svid, answer)
            } catch let error as IdentityError {
                throw CommandFailure("\(outDir): \(error); remove its key.pem and use a new token")
            } catch let error as CodingError {
                throw CommandFailure("the broker's answer cannot be read: \(error); compare the releases")
            }
        }

        /// The key of an attempt before this one, or a new one, on the disk before anybody hears of it.
        private func keptKey() throws -> PrivateKey {
            let path = "\(outDir)/key.pem"
            if FileManager.default.fileExists(atPath: path) {
                return try PrivateKey(pem: try Files.readSecret(path, limit: PEM.maximumLength))
            }
            let key = try PrivateKey.generate()
            try Files.writePrivate(try key.pem(), to: path)
            return key
        }

        /// Asks the token's addresses in their order; only one that cannot be reached is passed over.
        private static func enrol(_ token: JoinToken, _ request: [UInt8]) throws -> EnrolmentAnswer {
            let message = IdentityCoding.encodeEnrolRequest(tokenSecret: token.secret, certificateRequest: request)
            let context: TLSContext
            do throws(TLSError) { context = try TLSContext.client(pin: token.pin, protocols: [.http2]) } catch {
                throw CommandFailure("TLS cannot be set up: \(error)")
            }
            var problems: [String] = []
            for address in token.addresses {
                guard let place = HostPort(address) else { continue }
                let answer = RPCOnce.call(
                    .tcp(host: place.host, port: place.port),
                    security: .tls(
                        context: { context }, serverName: place.host,
                        accepts: { peer in
                            guard case .broker = peer.id.kind else { return false }
                            return peer.trustDomain == token.trustDomain
                        }),
                    path: "/meshfed.identity.v1.Enrolment/Enrol", message: message, deadline: .seconds(20))
                switch answer {
                case .success(let bytes): return try EnrolmentAnswer.decode(bytes)
                case .failure(let end):
                    guard end.status == .unavailable else { throw CommandFailure(end.message) }
                    problems.append(end.message)
                }
            }
            throw CommandFailure(
                "no broker of the token could be asked: \(problems.joined(separator: "; ")); check that it runs and can be "
                    + "reached from here")
        }

        private func report(_ svid: SVID, _ answer: EnrolmentAnswer) {
            output.print(
                .record([
                    ("id", .text("\(svid.id)")), ("cluster", .text("\(answer.cluster)")),
                    ("notAfter", TimeWords.value(svid.notAfter.seconds)),
                    ("brokers", .texts(answer.brokerAddresses)), ("svid", .text("\(outDir)/svid.pem")),
                    ("key", .text("\(outDir)/key.pem")), ("bundle", .text("\(outDir)/bundle.pem")),
                ])
            ) { _ in
                KeyedLines.text([
                    ("id", "\(svid.id)"), ("valid until", TimeWords.stamp(svid.notAfter.seconds)),
                    ("brokers", answer.brokerAddresses.joined(separator: " ")),
                    ("files", "\(outDir)/svid.pem \(outDir)/key.pem \(outDir)/bundle.pem"),
                ])
            }
        }
    }
}
