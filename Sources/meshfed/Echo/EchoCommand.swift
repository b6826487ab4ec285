import ArgumentParser
import MeshModel
import Reactor

/// `meshfed echo …`: an app to call, for demos and tests.
struct EchoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo", abstract: "A small server that says who it is and what it was asked.",
        discussion: "EXAMPLE\n  meshfed echo run --name web --http 127.0.0.1:8080",
        subcommands: [Run.self])

    struct Run: ParsableCommand, Supervising {
        static let configuration = CommandConfiguration(
            abstract: "Serve HTTP, gRPC health and TCP until a signal.",
            discussion: """
                HTTP/1.1 and HTTP/2 (prior knowledge) on --http and --grpc. Every path answers with JSON: name, method, path, \
                authority, headers, bodyBytes, bodySHA256. /status/503 answers with that status, /delay/250ms waits first, \
                /bytes/1048576 sends as many bytes. gRPC: grpc.health.v1.Health/Check and Watch, with echo-name and \
                echo-caller (the x-forwarded-client-cert) in the metadata. TCP: one line with the name and the peer, then \
                every byte comes back.

                EXAMPLES
                  meshfed echo run --name web --http 127.0.0.1:8080
                  meshfed echo run --name all --http [::]:8080 --grpc [::]:9090 --tcp [::]:7000
                """)

        @Option(help: "What it calls itself.") var name: String
        @Option(help: "Serve HTTP here (ADDR:PORT); may be repeated.") var http: [String] = []
        @Option(help: "Serve gRPC here (ADDR:PORT); may be repeated.") var grpc: [String] = []
        @Option(help: "Serve TCP here (ADDR:PORT); may be repeated.") var tcp: [String] = []

        func validate() throws {
            if name.isEmpty || name.utf8.count > 253 || ASCIIText(name) == nil {
                throw ValidationError("--name is 1 to 253 printable ASCII characters without a space")
            }
            if http.isEmpty, grpc.isEmpty, tcp.isEmpty {
                throw ValidationError("nothing to serve: give --http, --grpc or --tcp ADDR:PORT")
            }
            for text in http + grpc + tcp where SocketAddress(text) == nil {
                throw ValidationError("'\(text)' is no address with a port (IPv4 or [IPv6], port 0 picks one)")
            }
        }

        func run() throws {
            let server: EchoServer
            do throws(SocketError) {
                server = try EchoServer(name: name)
                for (protocolName, texts) in [("http", http), ("grpc", grpc), ("tcp", tcp)] {
                    for address in texts.compactMap({ SocketAddress($0) }) {
                        try server.listen(on: address, speaking: protocolName)
                    }
                }
            } catch {
                throw CommandFailure("echo: \(error); choose another port, or end what holds it")
            }
            Terminal.note("echo: ready as \(name) on \(server.places)")
            server.run()
        }
    }
}
