"""Has a change made the proxy dearer? Instructions per command in the core, and system calls per command of the program,
beside those of an earlier state. Neither depends on what else the machine does, so one run says it.

usage: regress.py                compares instructions with those recorded in bench/instructions.json
       regress.py record         records them there
       regress.py against COMMIT builds that commit as well, and compares instructions and system calls

It ends with status 1 and the names of the rows if any grew by more than 1 % (ALLOWED=2 allows 2 %). The build is a quicker
one than `make build` makes, the same for both sides: ratios are what counts, bench/instructions.sh counts what is released.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import workloads

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench/instructions.json"
ALLOWED = float(os.environ.get("ALLOWED", 1))
# CLIENTS NODES PIPELINE WORK RULES NAMESPACE of core.rs, and turns.
ROWS = {
    "get-p1": ("50 3 1 get".split() + ["", ""], 600),
    "get-p16": ("50 3 16 get".split() + ["", ""], 60),
    "get-p1-10000clients": ("10000 1000 1 get".split() + ["", ""], 4),
    "get-p1-user": ("50 3 1 get".split() + ["on nopass ~key:* +@all", ""], 600),
    "get-p1-namespace": ("50 3 1 get".split() + ["", "bench"], 600),
    "mget-10": ("50 3 1 mget".split() + ["", ""], 60),
    "mset-10": ("50 3 1 mset".split() + ["", ""], 60),
}
# One client: how many commands a turn takes does not depend on the machine then.
SYSCALL_ROWS = [
    workloads.Workload("get-1client", "get", 1, 1, 64, 1000, 20_000),
    workloads.Workload("get-1client-p16", "get", 1, 16, 64, 1000, 64_000),
]
PROFILE = ["--config", 'profile.regress.inherits="release"', "--config", 'profile.regress.lto="off"',
           "--config", "profile.regress.codegen-units=4", "--config", 'profile.regress.debug="line-tables-only"',
           "--profile", "regress"]


def run(argv, **options):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def build(folder, what):
    """Builds `what` ("--bench core", "--bin redis-cluster-proxy") of a checkout; returns the program's path. Each checkout has
    a target of its own: in one target cargo takes the older of two checkouts for built."""
    target = ROOT / "target" / ("regress" if folder == ROOT else "regress-before")
    kind = "build" if what[0] == "--bin" else "bench"
    argv = [os.environ.get("CARGO", "cargo"), kind, "--locked", *what, *PROFILE, "--message-format=json"]
    argv += ["--no-run"] if kind == "bench" else []
    said = run(argv, cwd=folder, env={**os.environ, "CARGO_TARGET_DIR": str(target)})
    name = what[1]
    found = re.findall(r'"executable":"([^"]*/' + re.escape(name) + r'[^"/]*)"', said)
    # The next build may take its place.
    kept = Path(tempfile.mkdtemp(prefix="redis-cluster-proxy-regress-")) / name
    kept.write_bytes(Path(found[-1]).read_bytes())
    kept.chmod(0o755)
    return kept


def total(program, args, turns):
    """Instructions of what the shell asks of the core, and commands, of one run."""
    clients, nodes, pipeline, work, rules, namespace = args
    argv = [str(program), clients, nodes, pipeline, str(turns), work, rules, namespace]
    with tempfile.NamedTemporaryFile() as out:
        collect = [f"--toggle-collect={name}" for name in ("core::measured::*", "core::write", "core::fill")]
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", *collect, *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        counted = re.search(r": (\d+) commands", done.stdout)
        spent = re.search(r"^(?:summary|totals): (\d+)", Path(out.name).read_text(), re.M)
    if not counted or not spent:
        raise SystemExit(f"{' '.join(argv)} says nothing under callgrind: {done.stderr.strip()[-500:]}")
    return int(spent[1]), int(counted[1])


def instructions(program):
    """By row: the difference of two runs, so that what comes before the first counted turn falls out."""
    rows = {}
    for name, (args, turns) in ROWS.items():
        (short, few), (long, many) = total(program, args, turns), total(program, args, turns * 2)
        rows[name] = round((long - short) / (many - few), 1)
    return rows


def system_calls(program):
    os.environ["PROXY_BIN"] = str(program)
    for name in [name for name in sys.modules if name.startswith("contenders")]:
        del sys.modules[name]
    rows = {}
    with harness.Bench() as bench:
        [contender] = harness.contenders("proxy")
        contender.start(bench, harness.CONTENDER_CORE)
        for workload in SYSCALL_ROWS:
            harness.load_keys(contender.port, workload)
            count = harness.count_syscalls(contender.process, contender.port, workload, workload.requests)
            if count is not None:
                rows[f"{workload.name} (system calls)"] = round(count, 3)
        contender.stop(bench)
    return rows


def compare(before, now):
    """Prints the table; returns the names of the rows that grew by more than is allowed."""
    print(f"| {'row':34} | {'before':>9} | {'now':>9} | change |")
    print(f"| {'-' * 34} | {'-' * 9} | {'-' * 9} | ------ |")
    grown = []
    for name, count in now.items():
        old = before.get(name)
        if old is None:
            print(f"| {name:34} | {'-':>9} | {count:9} |      - |")
            continue
        change = (count / old - 1) * 100
        print(f"| {name:34} | {old:9} | {count:9} | {change:+5.1f}% |")
        if change > ALLOWED:
            grown.append(name)
    return grown


def against(commit):
    folder = ROOT / "target/before"
    subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, capture_output=True)
    run(["git", "worktree", "add", "--detach", str(folder), commit], cwd=ROOT)
    try:
        sides = []
        for place in (folder, ROOT):
            core, program = build(place, ["--bench", "core"]), build(place, ["--bin", "redis-cluster-proxy"])
            sides.append({**instructions(core), **system_calls(program)})
    finally:
        run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT)
    return sides


def main():
    compiler = run(["rustc", "--version"]).strip()
    arguments = sys.argv[1:]
    if arguments[:1] == ["against"] and len(arguments) == 2:
        before, now = against(arguments[1])
    elif arguments in ([], ["record"]):
        now = instructions(build(ROOT, ["--bench", "core"]))
        if arguments:
            RECORD.write_text(json.dumps({"compiler": compiler, "instructions": now}, indent=1) + "\n")
        recorded = json.loads(RECORD.read_text())
        if recorded["compiler"] != compiler:
            print(f"recorded with {recorded['compiler']}; this is {compiler}: nothing to compare. `make bench-record` records.")
            return 0
        before = recorded["instructions"]
    else:
        raise SystemExit(__doc__.strip())
    grown = compare(before, now)
    if grown:
        print(f"dearer by more than {ALLOWED:g} %: {', '.join(grown)}. If it is worth it, say why in the commit and run "
              "`make bench-record`.", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
