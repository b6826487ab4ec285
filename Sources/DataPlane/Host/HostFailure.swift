/// Why a proxy cannot start or go on: one line, and the exit status.
package struct HostFailure: Error, CustomStringConvertible {
    package let description: String
    /// 1 a failure, 65 a bad input file.
    let status: Int32

    package init(_ description: String, status: Int32 = 1) {
        self.description = description
        self.status = status
    }
}
