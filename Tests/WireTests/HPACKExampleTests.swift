import Containers
import Testing
import Wire

/// RFC 7541 Appendix C.
@Suite struct HPACKExampleTests {
    private static let date1 = ("date", "Mon, 21 Oct 2013 20:13:21 GMT")
    private static let date2 = ("date", "Mon, 21 Oct 2013 20:13:22 GMT")
    private static let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
    private static let place = ("location", "https://www.example.com")
    private static let start = [
        (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com"),
    ]

    private static let requests = [
        start, start + [("cache-control", "no-cache")],
        [
            (":method", "GET"), (":scheme", "https"), (":path", "/index.html"), (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ],
    ]
    private static let responses = [
        [(":status", "302"), ("cache-control", "private"), date1, place],
        [(":status", "307"), ("cache-control", "private"), date1, place],
        [(":status", "200"), ("cache-control", "private"), date2, place, ("content-encoding", "gzip"), cookie],
    ]

    /// C.2: one field each.
    @Test func singleFieldsAreRead() {
        let cases: [(String, String, String, Bool)] = [
            ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header", false),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path", false),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret", true), ("82", ":method", "GET", false),
        ]
        for (bytes, name, value, isSensitive) in cases {
            let field = PlainField(Array(name.utf8), Array(value.utf8), sensitive: isSensitive)
            #expect(OwnDecoder().decode(hex(bytes)) == [field])
        }
    }

    /// C.3, C.4: three requests, plain and with Huffman codes.
    @Test(arguments: [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ])
    func requestsAreRead(_ blocks: [String]) {
        let decoder = OwnDecoder()
        for (block, fields) in zip(blocks, Self.requests) {
            #expect(decoder.decode(hex(block)) == fields.map { PlainField($0.0, $0.1) })
        }
    }

    /// C.5, C.6: three responses with a table of 256 bytes, so entries are evicted.
    @Test(arguments: [
        [
            """
            4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
            3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d
            """, "4803 3330 37c1 c0bf",
            """
            88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
            7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
            6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31
            """,
        ],
        [
            """
            4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
            1718 63c7 8f0b 97c8 e9ae 82ae 43d3
            """, "4883 640e ffc1 c0bf",
            """
            88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
            e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07
            """,
        ],
    ])
    func responsesAreRead(_ blocks: [String]) {
        let decoder = OwnDecoder()
        #expect(decoder.decode(hex("3fe1 01")) == [])
        for (block, fields) in zip(blocks, Self.responses) {
            #expect(decoder.decode(hex(block)) == fields.map { PlainField($0.0, $0.1) })
        }
    }

    /// C.3 again: our encoder writes the very same bytes, where it indexes as the examples do.
    @Test func requestsAreWrittenAsInTheExamples() {
        let encoder = OwnEncoder()
        let blocks = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
            // The path is a literal without indexing: we do not look for /index.html.
            "8287 040b 2f69 6e64 6578 2e68 746d 6cbf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ]
        for (block, fields) in zip(blocks, Self.requests) {
            #expect(encoder.encode(fields.map { PlainField($0.0, $0.1) }) == hex(block))
        }
    }
}
