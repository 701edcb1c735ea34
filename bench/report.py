"""Draws the speed graph (SVG) from the JSON of `make bench`: processor time per command, one group of bars for each test.

usage: report.py FILE.json [OUT.svg]. It draws what the file holds, in one placement (`together`, or PLACEMENT). Shorter is
better. The numbers stand at the bars, so that the picture can be read without its scale.
"""

import html
import json
import os
import statistics
import sys
from pathlib import Path

WIDTH, LEFT, RIGHT = 760, 190, 90
BAR, GAP, GROUP = 16, 4, 26
TITLES = {
    "get-p1": "GET, no pipeline", "set-p1": "SET, no pipeline",
    "get-p16": "GET, pipeline of 16", "set-p16": "SET, pipeline of 16",
    "get-1client": "GET, one client", "get-1000clients": "GET, 1,000 clients", "set-1000clients": "SET, 1,000 clients",
    "get-16k": "GET of 16 KiB", "set-16k": "SET of 16 KiB", "get-1m": "GET of 1 MiB",
    "mget-10": "MGET of 10 keys", "mset-10": "MSET of 10 keys",
}
NAMES = {"proxy": "this proxy", "haproxy": "HAProxy (TCP relay)", "nutcracker": "twemproxy", "envoy": "Envoy"}


def groups(document, placement):
    """(title, [(contender, microseconds)]), of those that have a number."""
    for entry in document["table"]:
        if entry["placement"] != placement:
            continue
        bars = []
        for name, row in entry["rows"].items():
            micros = [run["micros"] for run in row["runs"] if "micros" in run]
            if micros and "failure" not in row:
                bars.append((name, statistics.median(micros)))
        if bars:
            yield TITLES.get(entry["test"], entry["test"]), bars


def draw(document, placement):
    """Each group has a scale of its own: a GET of 16 KiB beside a pipelined one would leave nothing to see."""
    lines, y = [], 44
    for title, bars in groups(document, placement):
        lines.append(f'<text x="0" y="{y}" class="title">{html.escape(title)}</text>')
        y += 10
        longest = max(micros for _, micros in bars)
        for name, micros in bars:
            width = max(2, round((WIDTH - LEFT - RIGHT) * micros / longest))
            kind = "own" if name.startswith("proxy") else "peer"
            label = html.escape(NAMES.get(name, name))
            lines.append(f'<text x="{LEFT - 8}" y="{y + BAR - 4}" text-anchor="end">{label}</text>')
            lines.append(f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR}" class="{kind}"/>')
            lines.append(f'<text x="{LEFT + width + 6}" y="{y + BAR - 4}">{micros:.3g} µs</text>')
            y += BAR + GAP
        y += GROUP
    if not lines:
        raise SystemExit(f"no figures of the placement `{placement}`")
    machine = html.escape(document["machine"][0])
    height = y + 4
    style = (
        "text{font:13px sans-serif;fill:#1f2328}.title{font-weight:600}.note{font-size:11px;fill:#656d76}"
        ".own{fill:#0969da}.peer{fill:#afb8c1}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own{fill:#4493f8}.peer{fill:#545d68}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Processor time per command of this proxy and of others">\n'
        f"<style>{style}</style>\n"
        '<text x="0" y="14" class="title">Processor time of the proxy per command (shorter is better)</text>\n'
        + "\n".join(lines)
        + f'\n<text x="0" y="{height - 8}" class="note">{machine}; 50 clients, 64-byte values unless said otherwise</text>\n</svg>\n'
    )


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__.strip())
    document = json.loads(Path(sys.argv[1]).read_text())
    text = draw(document, os.environ.get("PLACEMENT", "together"))
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
