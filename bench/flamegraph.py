"""Folded stacks, `root;...;leaf count` on each line, drawn as a flame graph: an SVG that needs nothing but a browser.

The wider a box, the more of the time was spent in it and in what it called; boxes side by side are in the order of the
alphabet, not of time. Rest the pointer on a box to read its whole name.
"""

import re
from html import escape

WIDTH, ROW, TOP, LETTER = 1600, 17, 40, 6.7
OWN = "redis_cluster_proxy::"


class Frame:
    def __init__(self):
        self.count = 0
        self.callees = {}


def frames(stack):
    """Its names from the thread's on, without how threads begin (a dozen rows that are the same in all of them), and
    without a name that is only repeated."""
    thread, *names = stack.split(";")
    own = (at for at, name in enumerate(names) if OWN in name)
    names = names[next(own, 0):]
    kept = [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]
    return [thread, *kept]


def short(name, room):
    """As much of a name as there is room for: its last words before its first, since those say most."""
    name = re.sub(r"<impl [^<>]*>::", "", name.replace(OWN, ""))
    words = name.split("::")
    while len(name) > room and len(words) > 1 and "<" not in words[0]:
        words.pop(0)
        name = "::".join(words)
    return name[: max(0, room)]


def tree(folded):
    root = Frame()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack:
            continue
        frame = root
        frame.count += int(count)
        for name in frames(stack):
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


def colour(name, level):
    """Grey for threads, warm for our own code, blue for everybody else's."""
    if level == 0:
        return "rgb(200,200,200)"
    shade = sum(name.encode()) % 60
    if OWN in name:
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
        shown = escape(short(name, int((width - 4) / LETTER))) if width > 20 else ""
        out.append(
            f'<g><title>{escape(name)}: {count} samples, {share:.1f} %</title>'
            f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.4, 0.2):.1f}" height="{ROW - 1}" fill="{colour(name, level)}" '
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
