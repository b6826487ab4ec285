internal import MeshModel

/// The specs of Member and Gateway, which only `meshfed snapshot build` takes.
enum StandaloneDecoder {
    /// The east-west port (PROTOCOLS section 2).
    private static let gatewayPort: UInt16 = 15_443

    static func gateway(_ spec: inout Fields) -> MeshObject.Body? {
        let address = spec.required("address", example: "address: 10.1.0.2")?.address()
        let port = spec.optional("port").map { $0.port() } ?? gatewayPort
        let locality = ServiceDecoder.regionAndZone(&spec)
        guard let address, let port, let locality else { return nil }
        return .gateway(GatewayObject(address: address, port: port, locality: locality))
    }

    static func member(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let domain = spec.optional("trustDomain").map { $0.trustDomain() } ?? TrustDomain("\(metadata.name).mesh")
        let gateways: [GatewayAddress]? =
            spec.required("gateways", example: "gateways: [{name: gw-1, address: 172.31.0.3}]")?.list(
                maximum: 256, gatewayAddress)
        let services: [MemberObject.Offer]? = spec.optional("services").map { $0.list(maximum: 10_000, offer) } ?? []
        let inline = spec.optional("bundle")
        let named = spec.optional("bundleFile")
        var bundle: String? = ""
        if inline != nil || named != nil {
            bundle = ServiceDecoder.certificates(inline: inline, named: named, spec, key: "bundle")
        }
        guard let domain, let gateways, let services, let bundle else { return nil }
        guard Set(gateways.map(\.name)).count == gateways.count else {
            spec.report("two gateways have one name", "rename one of them")
            return nil
        }
        return .member(MemberObject(trustDomain: domain, gateways: gateways, services: services, bundle: bundle))
    }

    private static func gatewayAddress(_ field: Field) -> GatewayAddress? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let name = fields.required("name", example: "name: gw-1")?.label()
        let address = fields.required("address", example: "address: 172.31.0.3")?.address()
        let port = fields.optional("port").map { $0.port() } ?? gatewayPort
        let locality = ServiceDecoder.regionAndZone(&fields)
        guard let name, let address, let port, let locality else { return nil }
        return GatewayAddress(name: name, address: address, port: port, locality: locality)
    }

    private static func offer(_ field: Field) -> MemberObject.Offer? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let namespace = fields.required("namespace", example: "namespace: shop")?.label()
        let name = fields.required("name", example: "name: reviews")?.label()
        let list = fields.required("ports", example: "ports: [{name: http, port: 80}]")
        let ports: [ServicePort]? = list?.list(maximum: 256) { element in
            guard var port = element.fields() else { return nil }
            defer { port.finish() }
            return ServiceDecoder.portHead(&port)
        }
        let healthy = fields.optional("healthy").map { $0.integer(in: 0...1_000_000) } ?? 1
        let capacity = fields.optional("capacity").map { $0.integer(in: 0...1_000_000_000) } ?? healthy
        let locality = ServiceDecoder.regionAndZone(&fields)
        guard let namespace, let name, let list, let ports, let healthy, let capacity, let locality,
            ServiceDecoder.checkPorts(ports, list)
        else { return nil }
        return MemberObject.Offer(
            name: ObjectName(namespace: namespace, name: name), ports: ports,
            capacity: RemoteCapacity(
                locality: locality, healthyCount: UInt32(clamping: healthy), capacity: UInt32(clamping: capacity)))
    }
}
