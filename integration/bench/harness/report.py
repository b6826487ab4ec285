"""From samples to medians, ratios, the table and the files."""

import json
import os
import statistics
import time

from .scenarios import IDLE, IDLE_AIM, IDLE_MUST, IDLE_SERIES, PEERS, SCENARIOS, TARGETS

UNITS = {scenario.name: scenario.unit for scenario in SCENARIOS} | {IDLE: "KB/connection"}


def _entry(values, rounds):
    """({key: median or None}, {key: (least, most)}) of {target: {round: value}}."""
    entry, spread = {}, {}
    for name in TARGETS:
        if name not in values:
            continue
        enough = len(values[name]) > rounds / 2
        entry[name] = round(statistics.median(values[name].values()), 2) if enough else None
        spread[name] = (min(values[name].values()), max(values[name].values())) if enough else None
    for peer, label in PEERS.items():
        if peer not in values:
            continue
        ratios = [values["meshfed"][r] / values[peer][r] for r in values.get("meshfed", {}) if values[peer].get(r)]
        known = entry.get("meshfed") is not None and entry[peer] is not None and ratios
        entry[f"ratio{label}"] = round(statistics.median(ratios), 3) if known else None
        spread[f"ratio{label}"] = (min(ratios), max(ratios)) if known else None
    return entry, spread


def _verdict(entry, limits):
    """True, False, or None where a ratio is missing."""
    ratios = [(entry.get(f"ratio{PEERS[peer]}"), most) for peer, most in limits.items()]
    if not ratios or any(ratio is None for ratio, _ in ratios):
        return None
    return all(ratio <= most for ratio, most in ratios)


def summarise(samples, rounds):
    """Per scenario medians per target, and per peer the median over rounds of meshfed ÷ peer of the same round."""
    values = {}
    for sample in samples:
        for series, value in {"": sample["value"], **sample.get("more", {})}.items():
            by_target = values.setdefault((sample["scenario"], series), {})
            by_target.setdefault(sample["target"], {})[sample["round"]] = value
    scenarios, spreads = {}, {}
    for (name, series), by_target in values.items():
        entry, spread = _entry(by_target, rounds if name != IDLE else max(len(v) for v in by_target.values()))
        if series:
            scenarios[name][series] = entry
            spreads[name, series] = spread
        else:
            scenarios[name] = {"unit": UNITS[name]} | entry
            spreads[name, series] = spread
    for scenario in SCENARIOS:
        entry = scenarios.get(scenario.name)
        if not entry or entry.get("meshfed") is None:
            continue
        if scenario.must:
            held = _verdict(entry, scenario.must)
            if scenario.name == "latency" and held:
                held = _verdict(entry["p99"], scenario.must)
            entry["mustHold"] = {PEERS[peer]: most for peer, most in scenario.must.items()} | {"holds": held}
        if scenario.aim:
            entry["aim"] = {PEERS[peer]: most for peer, most in scenario.aim.items()} | {"holds": _verdict(entry, scenario.aim)}
    idle = scenarios.get(IDLE)
    if idle and idle.get("meshfed") is not None:
        found = {kind: (idle if kind == IDLE_SERIES[0] else idle[kind])["meshfed"] for kind in IDLE_SERIES}
        for key, limits in (("mustHold", IDLE_MUST), ("aim", IDLE_AIM)):
            idle[key] = {f"{kind}KB": most for kind, most in limits.items()} | {
                "holds": all(found[kind] is not None and found[kind] <= limits[kind] for kind in IDLE_SERIES)}
    return scenarios, spreads


def _cell(value, spread, digits):
    return "-" if value is None else f"{value:.{digits}f} ({spread[0]:.{digits}f}–{spread[1]:.{digits}f})"


def _wish(name, limits):
    if not limits:
        return ""
    held = {True: "yes", False: "NO", None: "?"}[limits["holds"]]
    bounds = " ".join(f"{key.removesuffix('KB')}≤{most:g}" for key, most in limits.items() if key != "holds")
    return f"{bounds}: {held}"


def table(scenarios, spreads, memory, large):
    """Medians, the least and most of the rounds in brackets; ratios are meshfed ÷ peer."""
    rows = [["median (range)", "meshfed", *PEERS.values(), *(f"÷ {label}" for label in PEERS.values()), "must hold", "aim"]]
    for (name, series), spread in spreads.items():
        entry = scenarios[name][series] if series else scenarios[name]
        title = f"{name} {series}" if series else f"{name}, {UNITS[name]}"
        if name == IDLE and not series:
            title = f"{name} http1, KB"
        digits = 1 if entry.get("meshfed") is None or entry["meshfed"] < 1000 else 0
        cells = [_cell(entry.get(key), spread.get(key), digits) for key in TARGETS]
        cells += [_cell(entry.get(f"ratio{label}"), spread.get(f"ratio{label}"), 2) for label in PEERS.values()]
        rows.append([title, *cells, _wish(name, entry.get("mustHold")), _wish(name, entry.get("aim"))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    known = [name for name in ("sidecar", "gateway", "haproxy", "envoy", "nghttpx") if name in memory]
    if known:
        lines.append("idle RSS, MB (anonymous): " + ", ".join(f"{n} {memory[n]} ({memory[n + 'Anonymous']})" for n in known))
    if large:
        lines.append(f"RSS with {large['services']} services and {large['endpoints']} endpoints, MB (anonymous): " + ", ".join(
            f"{name} {large[name]} ({large[name + 'Anonymous']})" for name in ("sidecar", "gateway")))
    return "\n".join(lines)


def write(results, machine, scenarios, memory, large, samples, problems, whole):
    """A dated copy and beside it every round; latest.json too when the run was whole. True when latest.json was written."""
    results.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "scenarios": scenarios, "idleRSS": memory}
    if large:
        found["largeSnapshotRSS"] = large
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    (results / f"{stamp}.json").write_text(text)
    rounds = {"samples": samples, "problems": problems}
    (results / f"{stamp}.rounds.json").write_text(json.dumps(rounds, indent=1, ensure_ascii=False) + "\n")
    latest = results / "latest.json"
    if not whole and latest.exists():
        return False
    fresh = results / f".latest.{os.getpid()}"
    fresh.write_text(text)
    fresh.rename(latest)
    return True
