"""What the steps of this suite share: a caller that asks little, and one that asks for more than its share."""
from meshtest import *

t = suite_topology()
RATINGS = "http://ratings.shop.svc.clusterset.local/"
REVIEWS = "http://reviews.shop.svc.clusterset.local/"
RATE = 20


def quiet_caller(url, seconds):
    """Milliseconds of each answer to a caller that asks RATE times per second; all must be 200."""
    with Load(t, "east/web", url, rate=RATE, connections=2, seconds=seconds) as load:
        prefer(load.process.pid, -15)
        load.process.wait(timeout=seconds + 30)
        rows = load.finish()
    bad = [row for row in rows if row[1] != 200]
    expect("the quiet caller's answers", "all 200", f"{len(bad)} of {len(rows)}: {bad[:3]}", not bad)
    return [row[3] for row in rows]


def compare(url, *greed):
    """The quiet caller's p99 alone and beside a run of h2load with the flags `greed`; (before, after, rate of the other)."""
    for node, target in (("east/web", url), ("east/batch", RATINGS)):
        wait_until(f"a call of {node}", lambda: ok(t.http(node, target)), seconds=20)
    # The greedy caller's own machine is not the mesh's: its client and its sidecar get what the others leave of the processors,
    # as does whatever else this machine does.
    for process in t.report(fresh=True)["processes"]:
        if "pid" in process:
            prefer(process["pid"], 19 if process["node"] == "east/batch" else -15)
    quiet_caller(url, 1)
    idle = quiet_caller(url, 6)
    greedy = t.popen("east/batch", ["nice", "-n", "19", "h2load", "--connect-to", OUTBOUND, *greed, RATINGS + "bytes/1024"],
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        time.sleep(2)
        busy = quiet_caller(url, 8)
        text = greedy.communicate(timeout=60)[0]
    finally:
        greedy.kill()
        greedy.wait()
    rate = float(re.search(r"([0-9.]+) req/s", text).group(1))
    before, after = percentile(idle, 0.99), percentile(busy, 0.99)
    say(f"    idle p50 {percentile(idle, .5):.1f} p99 {before:.1f} ms; beside {rate:.0f} requests per second of another caller "
        f"p50 {percentile(busy, .5):.1f} p99 {after:.1f} ms ({after / before:.1f} times)")
    return before, after, rate
