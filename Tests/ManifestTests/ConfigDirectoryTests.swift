import Manifest
import MeshModel
import Testing

@Suite struct ConfigDirectoryTests {
    private let workload =
        "apiVersion: meshfed.io/v1alpha1\nkind: Workload\nmetadata: {name: NAME}\nspec: {address: 10.0.0.1}\n"

    @Test func filesAreReadInOrder() throws {
        let folder = try TemporaryFolder()
        try folder.write("b.yml", workload.replacing("NAME", with: "b"))
        try folder.write("a.yaml", workload.replacing("NAME", with: "a"))
        try folder.write(".hidden.yaml", "nonsense: [")
        try folder.write("notes.txt", "nonsense: [")
        let objects = try ConfigDirectory.objects(in: folder.path)
        #expect(objects.map(\.metadata.name.description) == ["a", "b"])
        #expect(objects[1].metadata.location.file == folder.path + "/b.yml")
    }

    @Test func allFilesAreJudged() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.yaml", "kind: Pod\napiVersion: v1\n")
        try folder.write("b.yaml", "kind: [")
        do throws(ManifestError) {
            _ = try ConfigDirectory.objects(in: folder.path)
            Issue.record("accepted")
        } catch {
            #expect(error.problems.count == 2)
        }
    }

    @Test func whatCannotBeReadIsRefused() throws {
        let folder = try TemporaryFolder()
        #expect(throws: ManifestError.self) { try ConfigDirectory.objects(in: folder.path + "/none") }
        #expect(throws: ManifestError.self) { try ConfigDirectory.objects(inFile: folder.path) }
        #expect(throws: ManifestError.self) { try ConfigDirectory.objects(inFile: folder.path + "/none.yaml") }
        try folder.write("empty.yaml", "")
        #expect(try ConfigDirectory.objects(in: folder.path).isEmpty)
    }

    @Test func namedFilesAreBesideTheManifest() throws {
        let folder = try TemporaryFolder()
        try folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n")
        try folder.write(
            "w.yaml",
            "apiVersion: meshfed.io/v1alpha1\nkind: Workload\nmetadata: {name: w}\n"
                + "spec: {address: 10.0.0.1, tls: {mode: simple, caFile: ca.pem}}\n")
        #expect(try ConfigDirectory.objects(in: folder.path).count == 1)
    }
}
