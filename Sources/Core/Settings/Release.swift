/// The release that both programs print and report.
package enum Release {
    package static let version = "0.1.0"
}
