"""One trust domain for one run: a root and a SPIFFE leaf per part, all P-256, made with the openssl command line."""

import subprocess
from pathlib import Path

from .tools import BenchError

TRUST_DOMAIN = "bench.mesh"
DAYS = "2"
LOAD_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/load"
BACKEND_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/backend"
APP_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/app"
IDLE_ID = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/idle"
GATEWAY_ID = f"spiffe://{TRUST_DOMAIN}/meshfed/gateway/bench"
LEAVES = {"load": LOAD_ID, "backend": BACKEND_ID, "app": APP_ID, "idle": IDLE_ID, "gateway": GATEWAY_ID}

ROOT_EXTENSIONS = f"""
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
subjectAltName = URI:spiffe://{TRUST_DOMAIN}
"""
LEAF_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = URI:{identity}
"""


def _openssl(openssl, directory, *arguments):
    done = subprocess.run([openssl, *arguments], cwd=directory, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"openssl {' '.join(arguments)} failed:\n{done.stderr}")


def _request(openssl, directory, name, common_name):
    _openssl(openssl, directory, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    (directory / f"{name}.key").chmod(0o600)
    _openssl(openssl, directory, "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={common_name}", "-out", f"{name}.csr")


def mint(openssl, directory: Path):
    """root.pem and, for every leaf, NAME.pem, NAME.key and NAME.combined.pem (HAProxy's form) in `directory`."""
    directory.mkdir(mode=0o700)
    (directory / "root.ext").write_text(ROOT_EXTENSIONS)
    _request(openssl, directory, "root", f"{TRUST_DOMAIN} root")
    _openssl(openssl, directory, "x509", "-req", "-sha256", "-days", DAYS, "-in", "root.csr", "-signkey", "root.key",
             "-extfile", "root.ext", "-out", "root.pem")
    for name, identity in LEAVES.items():
        (directory / f"{name}.ext").write_text(LEAF_EXTENSIONS.format(identity=identity))
        _request(openssl, directory, name, name)
        _openssl(openssl, directory, "x509", "-req", "-sha256", "-days", DAYS, "-in", f"{name}.csr", "-CA", "root.pem",
                 "-CAkey", "root.key", "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        combined = directory / f"{name}.combined.pem"
        combined.touch(mode=0o600)
        combined.write_text((directory / f"{name}.pem").read_text() + (directory / f"{name}.key").read_text())
    return directory
