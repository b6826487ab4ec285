import ControlCoding
import Federation
import MeshModel
import MeshTestKit

/// The member that lies: beside what its honest broker sends, it sends what it should not.
enum Liar {
    static func follow(_ site: Site, _ id: StreamID, _ bytes: [UInt8]) {
        let world = site.world
        guard world.isTroubled, world.chance(8) else { return }
        let victim = world.sites[world.below(world.sites.count - 1)]
        let frame: [UInt8]
        switch world.below(8) {
        case 0: frame = world.random.damaged(bytes)
        case 1: frame = records([bundle(of: victim, signedBy: site, world)])
        case 2: frame = records([tombstone(of: victim, signedBy: site, world)])
        case 3: frame = records([membership(of: victim, signedBy: site, world)])
        case 4: frame = records(world.oracle.seenRecords(world.below(1_000), 3))
        case 5: frame = catalog(site, world)
        case 6:
            frame = SyncFrame.lease(
                SyncLease(
                    counter: world.random.next(), cursor: CatalogCursor(epoch: 1, revision: world.random.next()),
                    wallTime: WallTime(seconds: .max))
            ).encode()
        default:
            frame = SyncFrame.ack(CatalogCursor(epoch: .max, revision: .max), refused: "gap").encode()
        }
        world.send(id, from: site, frame)
    }

    private static func records(_ records: [[UInt8]]) -> [UInt8] { SyncFrame.records(records).encode() }

    private static func sign(
        _ type: RecordType, _ payload: [UInt8], by site: Site, as name: KeyName? = nil, _ world: World
    ) -> [UInt8] {
        let name = name ?? site.signer.keyName
        let sequence = UInt64(1 + world.below(50))
        let bytes = SignedRecord.signedBytes(
            type: type, sequence: sequence, role: .owner, keyName: name, payload: payload)
        let signature = RecordSignature(role: .owner, keyName: name, signature: site.signer.sign(bytes) ?? [])
        return SignedRecord(type: type, sequence: sequence, payload: payload, signatures: [signature]).encoded
    }

    /// The victim's domain with a root of the liar's.
    private static func bundle(of victim: Site, signedBy site: Site, _ world: World) -> [UInt8] {
        let payload = BundleStatement(trustDomain: victim.domain, roots: [Array("root forged".utf8)]).encode()
        return sign(.bundle, payload, by: site, as: world.chance(50) ? victim.signer.keyName : nil, world)
    }

    private static func tombstone(of victim: Site, signedBy site: Site, _ world: World) -> [UInt8] {
        let payload = TombstoneStatement(
            cluster: victim.cluster, federationKey: victim.signer.publicKey, epoch: 1, reason: "a lie"
        ).encode()
        return sign(.tombstone, payload, by: site, as: world.chance(50) ? victim.signer.keyName : nil, world)
    }

    /// The victim's name under a key of the liar's, or the victim's key with the liar's addresses.
    private static func membership(of victim: Site, signedBy site: Site, _ world: World) -> [UInt8] {
        let key = world.chance(50) ? site.signer.publicKey : victim.signer.publicKey
        let payload = MembershipStatement(
            cluster: victim.cluster, trustDomain: victim.domain, federationKey: key, rootHashes: [],
            brokerAddresses: ["liar.example:1"], gateways: [], epoch: 1 + UInt64(world.below(9))
        ).encode()
        return sign(.membership, payload, by: site, as: world.chance(50) ? victim.signer.keyName : nil, world)
    }

    private static func catalog(_ site: Site, _ world: World) -> [UInt8] {
        let records = ["app", "forged", "kube-dns"].map { name in
            CatalogRecord(
                service: ObjectName(namespace: Catalogue.namespace, name: Label(name)!), cluster: site.cluster,
                ports: [ServicePort(name: "", port: 80, appProtocol: .http)], capacities: [],
                authorization: Authorization())
        }
        let chunk = CatalogChunk(
            cursor: CatalogCursor(epoch: UInt64(world.below(3)), revision: world.random.next()), index: 0, isLast: true,
            records: records)
        return SyncFrame.snapshot(chunk).encode()
    }
}
