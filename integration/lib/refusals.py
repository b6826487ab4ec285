"""What a good refusal looks like."""

from meshtest import expect


def refused(what, result, words=(), code=None):
    """A command must have failed: exit code, few lines that name `words`, and no crash."""
    text = result.stderr.strip()
    if code is None:
        expect(f"{what}: exit code", "not 0, and no signal", f"{result.returncode}: {text[-400:]}", 0 < result.returncode < 126)
    else:
        expect(f"{what}: exit code", code, f"{result.returncode}: {text[-400:]}", result.returncode == code)
    expect(f"{what}: the error", "a line on stderr", text[-400:], bool(text))
    expect(f"{what}: the error", "no crash", text[-400:], "Fatal error" not in text and "Backtrace" not in text and "Stack dump" not in text)
    lines = [line for line in text.split("\n") if line.strip()]
    expect(f"{what}: the error", "short", f"{len(lines)} lines: {text[-600:]}", len(lines) <= 2)
    for word in words:
        expect(f"{what}: the error", f"names {word}", text[-400:], word.lower() in text.lower())
