"""Draws results as SVG: plain bars with their figures, readable on a light and on a dark page, no library."""

from html import escape

from .scenarios import IDLE, IDLE_SERIES, PEERS, SCENARIOS, TARGETS

COLOURS = {"meshfed": "#2f7fd1", "haproxy": "#8a94a0", "envoy": "#c48a3a", "nghttpx": "#6d9a6d"}
LABELS = {"meshfed": "meshfed", **PEERS}
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 860, 236, 92, 13, 16, 74
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9da7b1 } .page { fill: #0d1117 }
}
</style>"""


def _bars(title, subtitle, groups):
    """`groups`: [(label, unit, {target: value})]. Each group has a scale of its own: what compares are bars of one group."""
    body, y = [], TOP
    for label, unit, values in groups:
        most = max(values.values())
        height = len(values) * BAR
        body.append(f'<text x="{LEFT - 10}" y="{y + height / 2}" text-anchor="end">{escape(label)}</text>')
        body.append(f'<text x="{LEFT - 10}" y="{y + height / 2 + 14}" text-anchor="end" class="small">{escape(unit)}</text>')
        for target, value in values.items():
            width = (WIDTH - LEFT - RIGHT) * value / most
            digits = 0 if value >= 100 else 1
            body.append(f'<rect x="{LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{BAR - 2}" fill="{COLOURS[target]}"/>')
            body.append(f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 3}" class="small">{value:,.{digits}f}</text>')
            y += BAR
        y += GAP + (BAR if len(values) == 1 else 0)
    x, legend = LEFT, []
    for target in TARGETS:
        if any(target in values for _, _, values in groups):
            legend.append(f'<rect x="{x}" y="50" width="11" height="11" fill="{COLOURS[target]}"/>')
            legend.append(f'<text x="{x + 16}" y="60">{LABELS[target]}</text>')
            x += 100
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
            f'aria-label="{escape(title)}">\n{STYLE}\n<rect class="page" width="100%" height="100%"/>\n'
            f'<text x="16" y="24" class="title">{escape(title)}</text>\n'
            f'<text x="16" y="42" class="small">{escape(subtitle)}</text>\n' + "\n".join([*legend, *body]) + "\n</svg>\n")


def _values(entry):
    return {target: entry[target] for target in TARGETS if entry.get(target) is not None}


def draw(results, latest):
    """cpu.svg, sizes.svg, latency.svg and memory.svg of one latest.json; the names of those that could be drawn."""
    machine, scenarios = latest["machine"], latest["scenarios"]
    where = f"{machine['cpuModel']}, {machine['cores']} cores, {machine['date'][:10]}, median of {machine['rounds']} rounds; shorter is better"
    figures = {}
    sized = [s.name for s in SCENARIOS if s.path != "/" and s.route == "http2"]
    cpu = [(s.name, s.unit, _values(scenarios[s.name])) for s in SCENARIOS
           if s.name in scenarios and s.name not in sized and s.tool != "latency"]
    figures["cpu"] = ("CPU time of the proxy", cpu)
    figures["sizes"] = ("CPU time of the gateway by size of the body", [
        (name, "µs/request", _values(scenarios[name])) for name in sized if name in scenarios])
    if "latency" in scenarios:
        figures["latency"] = ("Latency at 1,000 requests per second, open loop", [
            (series or "p50", "µs", _values(scenarios["latency"][series] if series else scenarios["latency"]))
            for series in ("", "p99", "p999")])
    idle = latest["idleRSS"]
    memory = [("at rest, RSS", "MB", {
        target: idle[key] for target, key in zip(TARGETS, ("gateway", *PEERS)) if key in idle})]
    if "sidecar" in idle:
        memory.append(("sidecar at rest, RSS", "MB", {"meshfed": idle["sidecar"]}))
    if IDLE in scenarios:
        memory += [(f"idle {kind} connection", "KB", _values(
            scenarios[IDLE] if kind == IDLE_SERIES[0] else scenarios[IDLE][kind])) for kind in IDLE_SERIES]
    figures["memory"] = ("Memory", memory)
    drawn = []
    for name, (title, groups) in figures.items():
        groups = [group for group in groups if group[2]]
        if groups:
            (results / f"{name}.svg").write_text(_bars(title, where, groups))
            drawn.append(f"{name}.svg")
    return drawn
