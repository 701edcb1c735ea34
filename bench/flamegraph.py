"""Folded stacks, `root;...;leaf count` on each line, drawn as a flame graph: an SVG that needs nothing but a browser.

The wider a box, the more of the time was spent in it and in what it called; boxes side by side are in the order of the
alphabet, not of time. Rest the pointer on a box to read its whole name.
"""

from html import escape

WIDTH, ROW, TOP = 1600, 17, 40


class Frame:
    def __init__(self):
        self.count = 0
        self.callees = {}


def tree(folded):
    root = Frame()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack:
            continue
        frame = root
        frame.count += int(count)
        for name in stack.split(";"):
            frame = frame.callees.setdefault(name, Frame())
            frame.count += int(count)
    return root


def depth(frame):
    return 1 + max((depth(callee) for callee in frame.callees.values()), default=0)


def boxes(frame, x, level, scale, out):
    for name in sorted(frame.callees):
        callee = frame.callees[name]
        if callee.count * scale >= 0.3:
            out.append((name, callee.count, x * scale, callee.count * scale, level))
            boxes(callee, x, level + 1, scale, out)
        x += callee.count


def colour(name):
    """Warm for our own code, blue for the system's."""
    shade = sum(name.encode()) % 60
    if name.startswith("redis_cluster_proxy") or "redis_cluster_proxy::" in name:
        return f"rgb({205 + shade // 2},{90 + shade},{40 + shade // 3})"
    return f"rgb({130 + shade},{165 + shade},{205 + shade // 2})"


def draw(folded, title):
    root = tree(folded)
    if not root.count:
        raise SystemExit("the profile is empty: was there any load?")
    found = []
    boxes(root, 0, 0, WIDTH / root.count, found)
    height = TOP + ROW * (depth(root) + 1)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" '
        f'font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="22" font-size="15">{escape(title)}, {root.count} samples</text>'
    ]
    for name, count, x, width, level in found:
        y = height - ROW * (level + 2)
        share = 100 * count / root.count
        shown = escape(name[: max(0, int(width / 6.7))]) if width > 20 else ""
        out.append(
            f'<g><title>{escape(name)}: {count} samples, {share:.1f} %</title>'
            f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.4, 0.2):.1f}" height="{ROW - 1}" fill="{colour(name)}" '
            f'rx="1"/><text x="{x + 3:.1f}" y="{y + 12}">{shown}</text></g>'
        )
    out.append("</svg>\n")
    return "\n".join(out)


def leaves(folded, count=15):
    """The functions that were running most often, as lines of text."""
    tops, whole = {}, 0
    for line in folded.splitlines():
        stack, _, samples = line.rpartition(" ")
        if stack:
            leaf = stack.rsplit(";", 1)[-1]
            tops[leaf] = tops.get(leaf, 0) + int(samples)
            whole += int(samples)
    rows = sorted(tops.items(), key=lambda row: -row[1])[:count]
    return [f"{100 * samples / whole:6.2f} %  {name}" for name, samples in rows]
