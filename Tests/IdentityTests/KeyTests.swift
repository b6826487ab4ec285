import Identity
import MeshTestKit
import Testing

@Suite struct KeyTests {
    @Test func signsAndVerifiesWithItsOwnKeyOnly() throws {
        let key = try PrivateKey.generate()
        let other = try PrivateKey.generate()
        let message = Array("message".utf8)
        let signature = try key.sign(message)
        #expect(signature.count == 64)
        #expect(key.publicKey.verify(signature, message: message))
        #expect(!other.publicKey.verify(signature, message: message))
        #expect(!key.publicKey.verify(signature, message: message + [0]))
        #expect(!key.publicKey.verify(Array(signature.dropLast()), message: message))
        #expect(!key.publicKey.verify([UInt8](repeating: 0, count: 64), message: message))
        #expect(!key.publicKey.verify([UInt8](repeating: 255, count: 64), message: message))
    }

    @Test func aContextKeepsPurposesApart() throws {
        let key = try PrivateKey.generate()
        let signature = try key.sign([1, 2], context: .origin)
        #expect(key.publicKey.verify(signature, message: [1, 2], context: .origin))
        #expect(!key.publicKey.verify(signature, message: [1, 2], context: .record))
        #expect(key.publicKey.verify(signature, message: Array("meshfed origin v1".utf8) + [0, 1, 2]))
    }

    @Test func everySignatureHasSixtyFourBytes() throws {
        let key = try PrivateKey.generate()
        for count in 0..<300 {
            let message = [UInt8](repeating: 7, count: count)
            let signature = try key.sign(message)
            #expect(signature.count == 64)
            #expect(key.publicKey.verify(signature, message: message))
        }
    }

    @Test func aKeySurvivesItsText() throws {
        let key = try PrivateKey.generate()
        let again = try PrivateKey(pem: try key.pem())
        #expect(again.publicKey == key.publicKey)
        let copy = try again.duplicate()
        #expect(key.publicKey.verify(try copy.sign([9]), message: [9]))
        #expect(try PublicKey(spki: key.publicKey.spki) == key.publicKey)
        #expect(key.publicKey.fingerprint == SHA256.hash(key.publicKey.spki))
    }

    @Test func refusesOtherKindsOfKeys() throws {
        #expect(throws: IdentityError.self) { try PublicKey(spki: Vectors.p384) }
        #expect(throws: IdentityError.self) { try PublicKey(spki: Vectors.rsa1024) }
        #expect(throws: IdentityError.self) { try PublicKey(spki: PrivateKey.generate().publicKey.spki + [0]) }
        #expect(throws: IdentityError.self) { try PublicKey(spki: []) }
        #expect(throws: IdentityError.self) { _ = try PrivateKey(der: try PrivateKey.generate().der() + [0]) }
        #expect(throws: IdentityError.self) { _ = try PrivateKey(pem: []) }
    }

    @Test func hashesAsTheStandardSays() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(Hex.encode(SHA256.hash(Array("abc".utf8))) == abc)
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        #expect(Hex.encode(SHA256.hash([])) == empty)
    }

    @Test func comparesInFull() {
        #expect(constantTimeEquals([], []))
        #expect(constantTimeEquals([1, 2], [1, 2]))
        #expect(!constantTimeEquals([1, 2], [1, 3]))
        #expect(!constantTimeEquals([1, 2], [1, 2, 3]))
    }
}

/// Public keys that no leaf may hold.
enum Vectors {
    static let p384 =
        Hex.decode(
            "3076301006072a8648ce3d020106052b8104002203620004639a76026176d3ff7380aa2b8c284096c3e3fcd32fc049d16f4539f29103"
                + "259fe5e5ee33042e1b535f48c7c9652b4c8851e60ff644fb02328fc0aac3b31c9bb03c0d79d6a746655a085e7f4cd2d017d70"
                + "2f819d44d06ec290c830e9990beb6ee") ?? []
    static let rsa1024 =
        Hex.decode(
            "30819f300d06092a864886f70d010101050003818d0030818902818100a5b4031e5f5a1f3a46dc56d1828f3eadcf531283c030c946fa"
                + "cd4ae531c86cda9fef12b70a7e8bba14077d5e7341e7271b5c91e525df95380891552070a2ef9c4471a39120b3347d0fad94d"
                + "fbef571f36af1f729a4b8f7e99568cc409cccedbe7642bd31745b0d92ca035c9a8ee84fdd24ad7a57a9d409e980b0610d5e33"
                + "108d0203010001") ?? []

    /// An RSA key of 16,384 bits: slow to check a signature with.
    static let rsa16384 = DER.sequence(
        DER.sequence(DER.object([1, 2, 840, 113_549, 1, 1, 1]), [5, 0]),
        DER.bits(
            DER.sequence(
                DER.integer([UInt8](repeating: 0xC5, count: 2_048)), DER.integer([1, 0, 1]))))
}
