import MeshModel
import Routing
import Testing

@Suite struct CaptureTests {
    private func address(_ number: UInt32) -> [UInt8] {
        [240, 240, UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number)]
    }

    /// web with addresses for its local name, both with one for each of its names.
    private func mesh() throws -> Mesh {
        var mesh = Mesh()
        mesh.add("web", ports: [80, 81], zones: ["a"])
        mesh.add("both", ports: [80], zones: ["b"], remotes: ["north"], firstID: 30)
        var number: UInt32 = 0
        for index in mesh.snapshot.services.indices {
            for name in mesh.snapshot.services[index].meshNames(in: mesh.snapshot.cluster) {
                number += 1
                let address = try #require(VirtualAddress(name: name, number: number))
                mesh.snapshot.services[index].virtualAddresses.append(address)
            }
        }
        return mesh
    }

    @Test func everyNameHasItsOwnAddressAndMeaning() throws {
        let mesh = try mesh()
        let table = mesh.sidecarTable()
        for service in mesh.snapshot.services {
            for held in service.virtualAddresses {
                for bytes in [held.v4, held.v6] {
                    guard case .destination(let found, let endpoint) = table.captured(address: bytes, port: 80) else {
                        Issue.record("\(held.name)")
                        continue
                    }
                    #expect(endpoint == nil && found.address.port == 80)
                    switch held.name.scope {
                    case .pinned: #expect(found.scope == .pinned(member: 1))
                    case .clusterset: #expect(found.scope == .clusterset)
                    case .local: #expect(found.scope == .local)
                    }
                }
            }
        }
    }

    @Test func deadAddressesAndPortsAreNobodysButNotOutside() throws {
        let table = try mesh().sidecarTable()
        for (number, port) in [(1, 82), (200, 80)] as [(UInt32, UInt16)] {
            guard case .unknown = table.captured(address: address(number), port: port) else {
                Issue.record("\(number):\(port)")
                continue
            }
        }
        guard case .outside = table.captured(address: [192, 0, 2, 1], port: 80) else {
            Issue.record("outside")
            return
        }
        #expect(table.outside != nil)
        #expect(try mesh().gatewayTable().outside == nil)
    }

    @Test func anEndpointsOwnAddressMeansThatEndpoint() throws {
        let table = try mesh().sidecarTable()
        guard case .destination(let found, let endpoint) = table.captured(address: [10, 1, 0, 1], port: 8_081) else {
            Issue.record("not found")
            return
        }
        #expect(found.port.port == 81 && endpoint == 1)
    }

    @Test func aPortIsGuessedOnlyWhereEveryOwnerLeavesItOpen() throws {
        for (theirs, agreed) in [(AppProtocol.auto, AppProtocol.auto), (.tcp, .tcp)] {
            var mesh = try mesh()
            mesh.snapshot.services[1].ports[0].appProtocol = .auto
            mesh.snapshot.services[1].remotes[0].ports[0].appProtocol = theirs
            let table = mesh.sidecarTable()
            for held in mesh.snapshot.services[1].virtualAddresses {
                guard case .destination(let found, _) = table.captured(address: held.v4, port: 80) else {
                    Issue.record("\(held.name)")
                    continue
                }
                #expect(found.port.appProtocol == agreed)
            }
        }
    }
}
