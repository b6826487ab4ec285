/// Why a proxy cannot start or go on: one line, and the exit status.
struct HostFailure: Error, CustomStringConvertible {
    let description: String
    /// 1 a failure, 65 a bad input file.
    let status: Int32

    init(_ description: String, status: Int32 = 1) {
        self.description = description
        self.status = status
    }
}
