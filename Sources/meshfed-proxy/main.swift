internal import Gateway
internal import Glibc
internal import Reactor
internal import Redirect
internal import Settings
internal import Sidecar

// Before any library starts a thread: a signal taken there would end the process without a drain.
Signals.block()
// No clean-up at exit: workers may still use what libraries would free.
_exit(Program.run(Array(CommandLine.arguments.dropFirst())))

/// `meshfed-proxy`: reads the command line and hands over to the role.
enum Program {
    /// The exit status: 0 a clean stop, 1 a failure, 64 a wrong command line, 65 a bad input file.
    static func run(_ arguments: [String]) -> Int32 {
        do throws(SettingsError) {
            switch try ProxyCommand.parse(arguments, environment: variable) {
            case .gateway(let settings): return GatewayProgram.run(settings)
            case .sidecar(let settings): return SidecarProgram.run(settings)
            case .redirect(let settings): return RedirectProgram.run(settings)
            case .version(let asJSON):
                let text = asJSON ? "{\n  \"version\": \"\(Release.version)\"\n}\n" : "\(Release.version)\n"
                return put(text, on: 1) ? 0 : 1
            case .help(let text): return put(text, on: 1) ? 0 : 1
            }
        } catch {
            _ = put("\(error)\n", on: 2)
            return SettingsError.exitStatus
        }
    }

    private static func variable(_ name: String) -> String? {
        // SAFETY: the text is copied at once; no other thread exists yet that could change the environment.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Writes all of `text` to a standard descriptor; false when nobody reads it.
    private static func put(_ text: String, on descriptor: Int32) -> Bool {
        var bytes = ArraySlice(text.utf8)
        while !bytes.isEmpty {
            // SAFETY: the bytes are lent for the length of the call.
            let count = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            bytes = bytes.dropFirst(count)
        }
        return true
    }
}
