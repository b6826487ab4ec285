internal import Glibc

/// The codec that a fuzz run is about: `MESHFED_FUZZ` names it.
private let codec: String = {
    // SAFETY: the string of the environment is copied at once.
    guard let name = unsafe getenv("MESHFED_FUZZ") else { return "" }
    return unsafe String(cString: name)
}()

/// Runs the target of that name. False when there is none.
@discardableResult
package func fuzzWire(_ codec: String, _ bytes: Span<UInt8>) -> Bool {
    switch codec {
    case "http1-server": fuzzHTTP1Server(bytes)
    case "http1-client": fuzzHTTP1Client(bytes)
    case "http2-server": fuzzHTTP2Server(bytes)
    case "http2-client": fuzzHTTP2Client(bytes)
    case "hpack": fuzzHPACK(bytes)
    case "grpc": fuzzGRPC(bytes)
    case "proxy-header": fuzzProxyHeader(bytes)
    case "host": fuzzHost(bytes)
    case "client-hello": fuzzClientHello(bytes)
    case "dns": fuzzDNS(bytes)
    default: return fuzzParts(codec, bytes)
    }
    return true
}

/// libFuzzer's entry. Build with `--sanitize fuzzer --sanitize address`, link the objects with the same flags.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    // SAFETY: libFuzzer lends `count` bytes for the length of the call.
    let bytes = unsafe Span(_unsafeElements: UnsafeBufferPointer(start: data, count: count))
    precondition(fuzzWire(codec, bytes), "MESHFED_FUZZ names no codec")
    return 0
}
