"""The contenders side by side, in one run: one table. `bench/README.md` tells how to read it, and the options."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import harness
import workloads
from harness import Failure

QUICK = os.environ.get("QUICK", "") not in ("", "0")
REPEATS = int(os.environ.get("REPEATS", 1 if QUICK else 3))
BATCH = os.environ.get("SCHED", "other") == "batch"
# Whose cost this proxy's is divided by, where they run.
PEERS = ["haproxy", "nutcracker", "predixy", "corvus", "envoy", "haproxy_tls", "stunnel"]


def requests_of(workload):
    if "REQUESTS" in os.environ:
        return int(os.environ["REQUESTS"])
    return workload.requests // (4 if QUICK else 1)


def placements():
    chosen = os.environ.get("PLACEMENT", "together,apart").split(",")
    for placement in chosen:
        if placement == "together":
            yield placement, harness.LOAD_CORE
        elif placement == "both":
            yield placement, (harness.LOAD_CORE, harness.CONTENDER_CORE)
        elif placement != "apart":
            raise SystemExit(f"no such placement: {placement}; there are together, apart and both")
        elif harness.CONTENDER_CORE == harness.LOAD_CORE:
            say("apart: skipped, this machine has one core only")
        else:
            yield placement, harness.CONTENDER_CORE


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure(contender, workload, requests):
    """One run: what the load saw, and what the contender spent."""
    process = contender.process
    before = process.cpu_ns() if process else 0
    seen = harness.run_load(contender.port, workload, requests, contender.tls)
    if process:
        process.check()
        seen["micros"] = (process.cpu_ns() - before) / 1000 / requests
    return seen


def run_row(bench, placement, core, workload, field):
    """All contenders through one workload, turn by turn, so that a change of the machine's mood meets all."""
    requests = requests_of(workload)
    rows = {}
    for contender in field:
        row = rows[contender.name] = {"runs": []}
        try:
            contender.start(bench, core, BATCH)
            harness.load_keys(contender.port, workload, contender.tls)
            measure(contender, workload, max(1, requests // 5))
        except (Failure, OSError) as error:
            row["failure"] = str(error)
    for names in bench.shared_sessions():
        say(f"{', '.join(names)} share a session: a scheduler that groups by session favours the others; do not trust the ratios")
    for turn in range(REPEATS):
        for contender in field:
            row = rows[contender.name]
            if "failure" in row:
                continue
            try:
                row["runs"].append(measure(contender, workload, requests))
                last = row["runs"][-1]
                say(f"{placement} {workload.name} {turn + 1}/{REPEATS} {contender.name}: "
                    f"{last['rate'] / 1000:.1f} k/s" + (f", {last['micros']:.2f} us" if "micros" in last else ""))
            except (Failure, OSError) as error:
                row["failure"] = str(error)
    for contender in field:
        row = rows[contender.name]
        if contender.process and "failure" not in row:
            row["rss_mib"] = contender.process.rss_kib() / 1024
            try:
                row["syscalls"] = harness.count_syscalls(
                    contender.process, contender.port, workload, requests // 2, contender.tls
                )
            except (Failure, OSError) as error:
                row["failure"] = str(error)
        if "failure" in row:
            say(f"{placement} {workload.name} {contender.name}: {row['failure']}")
        contender.stop(bench)
    return rows


def spread(values, digits):
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(rows, name, peer):
    """The median of the ratios turn by turn, as both then had the same machine."""
    own, other = rows[name], rows.get(peer, {"runs": []})
    pairs = list(zip(own["runs"], other["runs"]))
    if name == peer or not pairs or any("micros" not in run for pair in pairs for run in pair):
        return "-"
    return f"{statistics.median(mine['micros'] / theirs['micros'] for mine, theirs in pairs):.2f}"


def print_table(table):
    peers = [peer for peer in PEERS if any(peer in rows for _, _, rows in table)]
    columns = ["placement", "test", "contender", "k/s", "us/command", *[f"of {peer}" for peer in peers],
               "syscalls/command", "RSS MiB", "p50 ms", "p99 ms"]
    lines = [columns, ["---"] * len(columns)]
    for placement, workload, rows in table:
        for name, row in rows.items():
            cells = [placement, workload.name, name]
            if "failure" in row:
                lines.append(cells + [row["failure"]] + [""] * (len(columns) - 4))
                continue
            runs = row["runs"]
            micros = [run["micros"] for run in runs if "micros" in run]
            rates = [run["rate"] / 1000 for run in runs]
            syscalls, rss = row.get("syscalls"), row.get("rss_mib")
            lines.append(cells + [
                # Large values are few to a second.
                spread(rates, 1 if min(rates) >= 10 else 3),
                spread(micros, 2) if micros else "-",
                *[ratio(rows, name, peer) for peer in peers],
                f"{syscalls:.3g}" if syscalls is not None else "-",
                f"{rss:.1f}" if rss is not None else "-",
                f"{statistics.median(run['p50'] for run in runs):.3f}",
                f"{statistics.median(run['p99'] for run in runs):.3f}",
            ])
    plain = [line for line in lines if len(line) == len(columns) and line[4] != "" or line is lines[0]]
    widths = [max(len(line[index]) for line in plain) for index in range(len(columns))]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")


def busy_percent():
    """How busy each core is with the work of others, before ours begins: on a busy machine no number holds."""
    def ticks():
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")][1:]
        return [(sum(map(int, row[1:9])), int(row[4]) + int(row[5])) for row in rows]

    before = ticks()
    time.sleep(2)
    pairs = zip(before, ticks())
    return [round(100 * (1 - (idle - idle0) / max(1, total - total0))) for (total0, idle0), (total, idle) in pairs]


def machine(field, busy):
    """Where and with what: a number without it is no number."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    lines = [f"machine: {model}, {os.cpu_count()} cores, Linux {platform.release()}"]
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    lines.append(f"redis-server: {' '.join(redis.split()[:3])}")
    lines += [f"{contender.name}: {contender.version()}" for contender in field if contender.version()]
    lines.append(f"cores: load and servers {harness.LOAD_CORE}, contender together {harness.LOAD_CORE}, "
                 f"apart {harness.CONTENDER_CORE}; scheduling of contenders: {'SCHED_BATCH' if BATCH else 'default'}")
    lines.append("busy with other work before the run: " + ", ".join(f"core {n} {p} %" for n, p in enumerate(busy)))
    lines.append(f"runs: {REPEATS} of each, interleaved; medians (lowest-highest)")
    return lines


def main():
    chosen = workloads.choose(os.environ.get("TESTS", ""))
    field = []
    for contender in harness.contenders(os.environ.get("CONTENDERS", "")):
        if contender.missing:
            say(f"{contender.name}: skipped, {contender.module.PROGRAM} is not installed (`make build` builds this proxy; "
                "apt-get installs haproxy, nutcracker and stunnel4; CONTENDER_DIR is a folder with others)")
        else:
            field.append(contender)
    busy = busy_percent()
    if max(busy) > 5:
        say(f"this machine is busy with other work ({busy} % of its cores): do not trust the numbers")
    table = []
    with harness.Bench() as bench:
        for placement, core in placements():
            for workload in chosen:
                table.append((placement, workload, run_row(bench, placement, core, workload, field)))
    print("\n".join(machine(field, busy)))
    print()
    print_table(table)
    if "JSON" in os.environ:
        rows = [{"placement": placement, "test": workload.name, "rows": rows} for placement, workload, rows in table]
        Path(os.environ["JSON"]).write_text(json.dumps({"machine": machine(field, busy), "table": rows}, indent=1))
    return 1 if any("failure" in row for _, _, rows in table for row in rows.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
