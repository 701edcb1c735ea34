"""What the runs stand on: servers, contenders, load, and what a process has used.

Standard library only. Everything started here is ended by its own pid.
"""

import importlib
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

LOAD_CORE = int(os.environ.get("LOAD_CORE", min(1, os.cpu_count() - 1)))
CONTENDER_CORE = int(os.environ.get("CONTENDER_CORE", 0))
DEFAULT_CONTENDERS = ["direct", "haproxy", "nutcracker", "proxy"]


class Failure(Exception):
    """A sentence for the table in place of a number."""


class Ended(Failure):
    """A process is gone that should be there: nothing to wait for."""


def find_program(name):
    """In CONTENDER_DIR, which holds contenders that no package brings, then on the PATH."""
    path = f"{os.environ.get('CONTENDER_DIR', '')}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    return shutil.which(name, path=path.lstrip(":"))


def free_port():
    """Below the ephemeral range, with the next one and the cluster bus at +10000."""
    for _ in range(1000):
        port = random.randrange(11000, 21000)
        sockets = [socket.socket() for _ in range(3)]
        try:
            for each, number in zip(sockets, (port, port + 1, port + 10000)):
                each.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise SystemExit("no free port between 11000 and 21000")


def trusting():
    """TLS without a look at the certificate: loopback, and a certificate made a moment ago."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Conn:
    """Just enough of a client to set things up."""

    def __init__(self, port, timeout=10, tls=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if tls:
            self.socket = trusting().wrap_socket(self.socket)
        self.input = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.socket.close()

    def send(self, *args):
        self.socket.sendall(encode(*args))

    def reply(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("closed")
        if line[:1] == b"-":
            raise Failure(line[1:].decode().strip())
        if line[:1] == b"$":
            length = int(line[1:])
            return self.input.read(length + 2)[:-2].decode() if length >= 0 else None
        return line[1:].decode().strip()

    def command(self, *args):
        self.send(*args)
        return self.reply()


def encode(*args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts += [b"$%d\r\n" % len(arg), arg, b"\r\n"]
    return b"".join(parts)


def wait_until(what, ask, limit=20):
    deadline = time.monotonic() + limit
    while True:
        try:
            if ask():
                return
        except Ended:
            raise
        except (OSError, Failure):
            pass
        if time.monotonic() > deadline:
            raise Failure(f"waited {limit} s in vain until {what}")
        time.sleep(0.02)


class Process:
    """A child on one core, or on any of several."""

    def __init__(self, argv, core, folder, name, batch=False):
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)

        def prepare():
            os.sched_setaffinity(0, {core} if isinstance(core, int) else set(core))
            if batch:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.name = name
        self.log = Path(folder) / f"{name}.out"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=prepare, start_new_session=True,
            )
        self.pid = self.child.pid

    def check(self):
        if self.child.poll() is not None:
            said = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise Ended(f"{self.name} has ended with status {self.child.returncode}: {' / '.join(said)}")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def cpu_ns(self):
        """User and system time of all threads in ns: of those that live from schedstat, where the kernel keeps it, and of
        all there ever were from stat, which counts in ticks."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except (OSError, IndexError):
                pass
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        ticks = (int(fields[11]) + int(fields[12])) * tick
        # A thread for each connection, as stunnel has it, is gone before it is read.
        return ticks if ticks > total + 10 * tick else total

    def rss_kib(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


class Bench:
    """A temp folder, the servers in it, and whatever else was started; `with` ends it all."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="redis-cluster-proxy-bench-")
        self.processes = []
        self.servers = {}

    def __enter__(self):
        for name in ("SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), lambda *_: (_ for _ in ()).throw(SystemExit(1)))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, argv, core, name, batch=False):
        process = Process(argv, core, self.folder, name, batch)
        self.processes.append(process)
        return process

    def stop(self, process):
        process.stop()
        self.processes.remove(process)

    def addresses(self, kind):
        """`single`: one redis-server; `plain`: three; `cluster`: three masters. Started when first asked for."""
        if kind not in self.servers:
            count, flags = {"single": (1, []), "plain": (3, []), "cluster": (3, ["--cluster-enabled", "yes"])}[kind]
            ports = [self._server(f"{kind}-{number}", flags) for number in range(count)]
            if kind == "cluster":
                form_cluster(ports)
            self.servers[kind] = [f"127.0.0.1:{port}" for port in ports]
        return self.servers[kind]

    def make_certificate(self):
        """server.crt, server.key, and both in server.pem, in the temp folder."""
        if os.path.exists(os.path.join(self.folder, "server.pem")):
            return
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", "server.key", "-out", "server.crt"],
            cwd=self.folder, check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )
        both = [Path(self.folder, name).read_text() for name in ("server.crt", "server.key")]
        Path(self.folder, "server.pem").write_text("".join(both))

    def shared_sessions(self):
        """Processes that share a session with another one: a scheduler that groups by session would favour them."""
        sessions = {}
        for process in self.processes:
            if process.child.poll() is None:
                sessions.setdefault(os.getsid(process.pid), []).append(process.name)
        return [names for names in sessions.values() if len(names) > 1]

    def _server(self, name, flags):
        program = find_program("redis-server")
        if program is None:
            raise SystemExit("redis-server is not installed: `make bench` installs it")
        port = free_port()
        folder = os.path.join(self.folder, name)
        os.mkdir(folder)
        argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        process = self.start(argv + flags, LOAD_CORE, name)
        wait_until(f"{name} answers", lambda: alive(process, port))
        return port


def alive(process, port):
    """PING is answered, or refused by a proxy that does not know it; and our own process is there."""
    process.check()
    with Conn(port, 1) as conn:
        return conn.command("PING") == "PONG"


def form_cluster(ports):
    for index, port in enumerate(ports):
        first, last = 16384 * index // len(ports), 16384 * (index + 1) // len(ports) - 1
        with Conn(port) as conn:
            conn.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            conn.command("CLUSTER", "ADDSLOTSRANGE", first, last)
            for other in ports[:index]:
                conn.command("CLUSTER", "MEET", "127.0.0.1", other)

    def settled(port):
        with Conn(port) as conn:
            info = conn.command("CLUSTER", "INFO")
            whole = f"cluster_known_nodes:{len(ports)}" in info and "cluster_slots_ok:16384" in info
            return whole and "cluster_state:ok" in info

    for port in ports:
        wait_until("the cluster is formed", lambda: settled(port))


class Contender:
    """One module of `contenders/`: PROGRAM, SERVERS, perhaps CONFIG, command() and version()."""

    def __init__(self, name):
        self.name = name
        self.module = importlib.import_module(f"contenders.{name}")
        self.program = self.module.PROGRAM and find_program(self.module.PROGRAM)
        self.process = None
        self.port = None
        self.tls = getattr(self.module, "TLS", False)

    @property
    def missing(self):
        return self.module.PROGRAM is not None and self.program is None

    @property
    def is_direct(self):
        return self.module.PROGRAM is None

    def version(self):
        if self.is_direct or self.missing:
            return None
        said = subprocess.run(
            self.module.version(self.program), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        lines = (said.stdout + said.stderr).strip().splitlines()
        return lines[0] if lines else "says nothing"

    def start(self, bench, core, batch=False, wait=True):
        servers = bench.addresses(self.module.SERVERS)
        if self.is_direct:
            self.port = int(servers[0].rsplit(":", 1)[1])
            return
        self.port = free_port()
        # Envoy goes by it.
        suffix = getattr(self.module, "SUFFIX", ".conf")
        config = os.path.join(bench.folder, self.name + suffix)
        if self.tls:
            bench.make_certificate()
        if hasattr(self.module, "CONFIG"):
            hosts, ports = zip(*(server.rsplit(":", 1) for server in servers))
            text = self.module.CONFIG.format(
                port=self.port, servers=servers, hosts=hosts, ports=ports, folder=bench.folder
            )
            Path(config).write_text(text)
        argv = self.module.command(self.program, config, self.port, servers)
        self.process = bench.start(argv, core, self.name, batch)
        if not wait:
            return
        wait_until(f"{self.name} answers", lambda: serves(self.process, self.port, self.tls))

    def stop(self, bench):
        if self.process:
            bench.stop(self.process)
            self.process = None


def serves(process, port, tls=False):
    """GETs of keys all over the slots are answered."""
    process.check()
    with Conn(port, 2, tls) as conn:
        for number in range(64):
            conn.command("GET", f"serving:{number}")
    return True


def contenders(names):
    """The contenders of a comma list, of `all`, or the default four."""
    folder = Path(__file__).parent / "contenders"
    known = [module.name for module in pkgutil.iter_modules([str(folder)])]
    chosen = known if names == "all" else names.split(",") if names else DEFAULT_CONTENDERS
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"no such contender: {', '.join(unknown)}; there are {', '.join(known)}")
    return [Contender(name) for name in chosen]


def load_keys(port, workload, tls=False):
    """Every key that the load may ask for, with a value of the right size: so that every GET hits. In small
    batches, as a contender's memory should tell of the load and not of this."""
    value = b"x" * workload.value_bytes
    batch = max(1, min(32, (1 << 18) // workload.value_bytes))
    with Conn(port, 30, tls) as conn:
        for first in range(0, workload.keys, batch):
            numbers = range(first, min(first + batch, workload.keys))
            conn.socket.sendall(b"".join(encode("SET", f"key:{number:012}", value) for number in numbers))
            for _ in numbers:
                conn.reply()


def load_command(port, workload, requests, tls=False):
    argv = [find_program("redis-benchmark") or "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "--csv"]
    argv += ["-c", str(workload.clients), "-P", str(workload.pipeline), "-n", str(requests)]
    argv += ["-d", str(workload.value_bytes)]
    if tls:
        argv += ["--tls", "--insecure"]
    if workload.keys > 1:
        argv += ["-r", str(workload.keys)]
    return argv + (workload.command.split() if " " in workload.command else ["-t", workload.command])


def run_load(port, workload, requests, tls=False, wrap=()):
    """Runs it on the load's core; commands a second, and p50 and p99 in ms."""
    with Conn(port):  # redis-benchmark spins for ever on a port where nobody listens
        pass
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)

    def prepare():
        os.sched_setaffinity(0, {LOAD_CORE})
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    argv = [*wrap, *load_command(port, workload, requests, tls)]
    # In a process group of its own, so that a load wrapped in another program ends with it.
    load = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=prepare, start_new_session=True,
    )
    try:
        out, err = load.communicate(timeout=300)
    except BaseException as error:
        os.killpg(load.pid, signal.SIGKILL)
        load.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failure("redis-benchmark did not end within 300 s") from None
        raise
    rows = [line for line in out.splitlines() if line.startswith('"') and not line.startswith('"test"')]
    if load.returncode != 0 or not rows or "Error from server" in out + err:
        said = [line for line in (out + err).splitlines() if "Error" in line or "error" in line]
        raise Failure(f"redis-benchmark failed: {(said or ['it says nothing'])[0]}")
    numbers = [float(text.strip('"')) for text in rows[-1].split('","')[1:]]
    return {"rate": numbers[0], "p50": numbers[3], "p99": numbers[5]}


def count_syscalls(process, port, workload, requests, tls=False):
    """System calls of the contender per command; None where neither perf nor strace can tell."""
    perf, strace = find_program("perf"), find_program("strace")
    with tempfile.NamedTemporaryFile("r") as out:
        if perf:
            wrap = [perf, "stat", "-x", ",", "-o", out.name, "-e", "raw_syscalls:sys_enter", "-p", str(process.pid), "--"]
            try:
                run_load(port, workload, requests, tls, wrap)
                found = re.search(r"^(\d+),", out.read(), re.M)
                if found:
                    return int(found[1]) / requests
            except Failure:
                process.check()
        if strace:
            return count_with_strace(strace, process, port, workload, requests, tls, out)
    return None


def count_with_strace(strace, process, port, workload, requests, tls, out):
    tracer = subprocess.Popen(
        [strace, "-c", "-f", "-p", str(process.pid), "-o", out.name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        run_load(port, workload, requests, tls)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    found = re.search(r"^100\.00\s+\S+\s+\S*\s*(\d+)\s+(?:\d+\s+)?total", out.read(), re.M)
    return int(found[1]) / requests if found else None
