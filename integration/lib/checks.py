"""What `meshfed check` says, and whether that is the whole of it."""

import json

from meshtest import Failed, expect, wait_until

RATINGS = {f"ratings.shop.svc.west.clusterset.local:{port}" for port in (80, 7000, 9090)}


def check(topology, cluster="east"):
    """(exit code, results, stderr) of `meshfed check -o json`."""
    result = topology.mesh(cluster, "check", "-o", "json", "--timeout", "3000", check=False, timeout=90)
    try:
        answer = json.loads(result.stdout)
    except ValueError:
        raise Failed("check -o json", "JSON", (result.stdout + result.stderr)[-400:])
    failed = [r for r in answer["results"] if r["outcome"] == "failed"]
    expect("success, exit code and stderr of check", f"success {not failed}, as {len(failed)} failed",
           f"success {answer['success']}, exit {result.returncode}: {result.stderr[-200:]}",
           answer["success"] == (not failed) and result.returncode == (1 if failed else 0) and bool(result.stderr) == bool(failed))
    return result.returncode, answer["results"], result.stderr


def words(results):
    return "\n".join(f"    {r['outcome']} {r['kind']} {r['subject']} {r['reason']} {r['detail']}" for r in results if r["outcome"] != "ok") or "all ok"


def green(topology, cluster="east"):
    """The results of a check that must be green now."""
    code, results, _ = check(topology, cluster)
    expect("check", "exit 0", f"exit {code}\n{words(results)}", code == 0)
    return results


def red(topology, kind, reasons, cluster="east", subjects=None):
    """The failed results of `kind`; all of them must have one of `reasons`, and be of `subjects` where these are given."""
    code, results, _ = check(topology, cluster)
    failed = [r for r in results if r["outcome"] == "failed" and r["kind"] == kind]
    expect("check", f"exit 1 with {kind} {' or '.join(str(r) for r in reasons)}", f"exit {code}\n{words(results)}",
           code == 1 and bool(failed) and all(r["reason"] in reasons for r in failed))
    if subjects is not None:
        expect(f"failed {kind} lines", sorted(subjects), f"{sorted({r['subject'] for r in failed})}\n{words(results)}",
               {r["subject"] for r in failed} == set(subjects))
    for line in failed:
        expect("a failed line", "what, where and what to try", str(line), len(line["detail"]) > 20)
    return failed


def green_again(topology, cluster="east"):
    return wait_until("check is green again", lambda: green(topology, cluster), seconds=25, every=0.2)
