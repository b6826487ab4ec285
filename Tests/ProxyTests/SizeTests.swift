import Link
import Proxy
import TLS
import Testing
import Wire

/// What every connection and every stream takes before it has carried a byte. Who makes one larger raises its number here and
/// says why in the commit; buffers that exist while something is under way are measured by `integration/run ceilings`.
@Suite struct SizeTests {
    @Test func connectionsAndStreamsAreSmall() {
        print(
            "inbound \(ElementSizes.inbound), outbound \(ElementSizes.outbound), exchange \(ElementSizes.exchange), "
                + "relay \(ElementSizes.relay), transport \(MemoryLayout<Transport>.stride), "
                + "link \(MemoryLayout<HTTPLink>.stride), head \(MemoryLayout<HeaderBlock>.stride), "
                + "session \(MemoryLayout<HTTPSession>.stride)")
        #expect(ElementSizes.inbound <= 496)
        #expect(ElementSizes.outbound <= 464)
        #expect(ElementSizes.exchange <= 688)
        #expect(ElementSizes.relay <= 400)
        #expect(MemoryLayout<Transport>.stride <= 192)
        #expect(MemoryLayout<HTTPLink>.stride <= 256)
        #expect(MemoryLayout<HTTPSession>.stride <= 64)
        #expect(MemoryLayout<HeaderBlock>.stride <= 160)
    }
}
