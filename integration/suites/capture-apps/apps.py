"""What the steps of this suite share."""
from meshtest import *

t = suite_topology()


def out(node, *command, check=True, timeout=30, **options):
    return t.exec(node, command, check=check, timeout=timeout, **options).stdout.strip()


def get(node, url, *extra, timeout=10):
    """A call by curl that knows of no proxy."""
    return t.http(node, url, *extra, proxy=False, timeout=timeout)


def sql(node, host, port, *extra, check=True):
    """40 + 2 by MariaDB's own client; (answer, seconds)."""
    begun = time.monotonic()
    answer = out(node, "mariadb", "--no-defaults", "--skip-ssl", "--connect-timeout=5", "-h", host, "-P", str(port),
                 "-u", "root", "-N", *extra, "-e", "select 40+2", check=check, timeout=10)
    return answer, time.monotonic() - begun
