"""The training load of `make release-pgo`: an instrumented proxy serves it, and writes its profile when it ends.

Options by environment: PROXY_BIN, SHARE of the bench's requests (default 0.2).
"""

import os

import harness
import workloads

SHARE = float(os.environ.get("SHARE", 0.2))
PLAIN = "get-p1,set-p1,get-p16,set-p16,get-1client,get-1000clients,set-16k,get-16k,mget-10,mset-10,mget-100"
# The plain proxy twice: its own core, half idle, and one core for all.
LOADS = [
    ("proxy", PLAIN, harness.CONTENDER_CORE),
    ("proxy", PLAIN, harness.LOAD_CORE),
    ("proxy_user", "get-p1,set-p16,mget-10", harness.LOAD_CORE),
    ("proxy_namespace", "get-p1,set-p16,mget-10", harness.LOAD_CORE),
    ("proxy_near", "hot-get-p1,hot-get-p16,set-p1", harness.LOAD_CORE),
    ("proxy_tls", "get-p1,set-p16,get-16k", harness.LOAD_CORE),
]


def main():
    os.sched_setaffinity(0, {harness.LOAD_CORE})
    with harness.Bench() as bench:
        for name, tests, core in LOADS:
            [contender] = harness.contenders(name)
            contender.start(bench, core)
            try:
                for workload in workloads.choose(tests):
                    harness.load_keys(contender.port, workload, contender.tls)
                    harness.run_load(contender.port, workload, max(1000, int(workload.requests * SHARE)), contender.tls)
            finally:
                contender.stop(bench)
            print(f"{name}: {tests}", flush=True)


if __name__ == "__main__":
    main()
