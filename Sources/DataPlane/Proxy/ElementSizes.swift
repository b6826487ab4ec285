/// Bytes that one of each takes in a worker's slabs, for the test that holds them to ceilings: the types themselves are nobody's
/// else.
package enum ElementSizes {
    /// An accepted connection.
    package static var inbound: Int { MemoryLayout<Inbound>.stride }
    /// A connection that was dialled.
    package static var outbound: Int { MemoryLayout<Outbound>.stride }
    /// A request and its response.
    package static var exchange: Int { MemoryLayout<Exchange>.stride }
    /// An opaque TCP stream.
    package static var relay: Int { MemoryLayout<Relay>.stride }
}
