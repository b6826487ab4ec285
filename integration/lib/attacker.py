"""Peers that are not what they say: certificates of another root, stolen SVIDs, assertions made by hand."""

import base64
import json
import os
import struct
import subprocess
import time

from meshtest import HERE, PYTHON, Failed, run

PEER = os.path.join(HERE, "peer.py")


class Identity:
    """A certificate and its key in files."""

    def __init__(self, certificate, key):
        self.certificate = certificate
        self.key = key

    def leaf(self):
        """The leaf as DER."""
        return run_bytes(["openssl", "x509", "-in", self.certificate, "-outform", "DER"])


class Outcome:
    """What came of one connection of peer.py."""

    def __init__(self, values):
        self.accepted = values["accepted"]
        self.error = values["error"]
        self.status = values["status"]
        self.headers = values["headers"]
        self.body = values["body"]

    @property
    def reason(self):
        return self.headers.get("meshfed-error", "").split(";")[0].strip()

    @property
    def text(self):
        if self.status:
            return f"{self.status} {self.headers.get('meshfed-error', '')} {self.body[:200]}".strip()
        return "accepted" if self.accepted else self.error

    def __str__(self):
        return self.text


def run_bytes(arguments, data=None):
    result = subprocess.run(arguments, input=data, capture_output=True, timeout=20)
    if result.returncode != 0:
        raise Failed(" ".join(arguments), "exit 0", result.stderr.decode(errors="replace")[-300:])
    return result.stdout


def own_identity(t, node):
    """The SVID and key that the proxy of `node` keeps in its state directory: what a thief would take."""
    folder = t.node(node)["stateDirectory"]
    certificate, key = os.path.join(folder, "svid.pem"), os.path.join(folder, "key.pem")
    for path in (certificate, key):
        if not os.path.exists(path):
            raise Failed(f"state directory of {node}", "svid.pem and key.pem", sorted(os.listdir(folder)))
    return Identity(certificate, key)


def forged_identity(folder, spiffe_id, issuer_name="Forged Root", days=1, extra=""):
    """A leaf for `spiffe_id` under a root made here."""
    os.makedirs(folder, exist_ok=True)

    def path(name):
        return os.path.join(folder, name)

    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={issuer_name}", "-keyout", path("root.key"), "-out", path("root.pem"),
         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
    run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", path("leaf.key"), "-out", path("leaf.csr")])
    with open(path("leaf.ext"), "w") as file:
        file.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                   f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,URI:{spiffe_id}{extra}\n")
    run(["openssl", "x509", "-req", "-in", path("leaf.csr"), "-CA", path("root.pem"), "-CAkey", path("root.key"),
         "-CAcreateserial", "-days", str(days), "-extfile", path("leaf.ext"), "-out", path("leaf.pem")])
    return Identity(path("leaf.pem"), path("leaf.key"))


def connect(t, node, address, sni, identity, *extra):
    """One connection of peer.py from inside `node`."""
    output = t.exec(node, [PYTHON, PEER, address, sni, identity.certificate if identity else "-",
                           identity.key if identity else "-", *extra]).stdout
    return Outcome(json.loads(output))


def handshake(t, node, address, sni, identity):
    return connect(t, node, address, sni, identity, "--handshake-only")


def assertion(identity, caller, audience, issued=None, expires=None, nonce=None, attested_by=None, leaf=None, key=None):
    """An origin assertion (PROTOCOLS section 5), signed with `identity`'s key unless `key` says otherwise."""
    issued = int(time.time()) if issued is None else issued
    expires = issued + 60 if expires is None else expires
    claims = text_field(1, caller) + text_field(2, audience) + number_field(3, issued) + number_field(4, expires)
    claims += bytes_field(5, os.urandom(16) if nonce is None else nonce)
    if attested_by:
        claims += text_field(6, attested_by)
    leaf = identity.leaf() if leaf is None else leaf
    body = b"\x01" + struct.pack(">H", len(claims)) + claims + b"\x01" + struct.pack(">H", len(leaf)) + leaf
    der = run_bytes(["openssl", "dgst", "-sha256", "-sign", key or identity.key], b"meshfed origin v1\0" + body)
    return base64.urlsafe_b64encode(body + raw_signature(der)).rstrip(b"=").decode()


def raw_signature(der):
    """ECDSA-Sig-Value → r‖s, 32 bytes each."""
    parts, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        parts.append(int.from_bytes(der[at + 2:at + 2 + length], "big").to_bytes(32, "big"))
        at += 2 + length
    return b"".join(parts)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def number_field(number, value):
    return varint(number << 3) + varint(value)


def bytes_field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def text_field(number, value):
    return bytes_field(number, value.encode())
