"""Builds the module, starts a private durable cluster with it, runs pgbench against it, counts processor time."""

import os
import re
import shutil
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICKS = os.sysconf("SC_CLK_TCK")

SETTINGS = """
shared_buffers = 1GB
max_wal_size = 4GB
max_connections = 200
max_worker_processes = 16
fsync = on
synchronous_commit = on
"""


def call(*command, **options):
    """Runs a program; its output is the answer, and the error text when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


class Server:
    """A copy of the PostgreSQL installation with pg_saga in it, and a cluster of it, in one temporary folder."""

    def __init__(self, settings=""):
        self.folder = tempfile.mkdtemp(prefix="pg_saga_bench.")
        os.chmod(self.folder, 0o755)
        self.cluster = os.path.join(self.folder, "cluster")
        self._install()
        self._start(settings)

    def _install(self):
        if not os.environ.get("BENCH_NO_BUILD"):
            call("make", "-s", f"-j{os.cpu_count()}", "all", cwd=ROOT)
        self.pg_config = call(os.path.join(ROOT, "tools/prefix"), os.path.join(self.folder, "prefix")).strip()
        self.bindir = self._ask("--bindir")
        extension = os.path.join(self._ask("--sharedir"), "extension")
        for name, target in (("pg_saga.so", self._ask("--pkglibdir")), ("pg_saga.control", extension),
                             ("sql/pg_saga--1.0.0.sql", extension)):
            shutil.copy(os.path.join(ROOT, name), target)

    def _ask(self, what):
        return call(self.pg_config, what).strip()

    def _start(self, settings):
        environment = dict(os.environ, PG_CONFIG=self.pg_config, SAGA_CLUSTER_DURABLE="1",
                           SAGA_CLUSTER_CONF=SETTINGS + settings)
        printed = call(os.path.join(ROOT, "tools/cluster"), "start", self.cluster, env=environment)
        for name, value in re.findall(r"(PG\w+)=(\S+)", printed):
            os.environ[name] = value
        with open(os.path.join(self.cluster, "data/postmaster.pid"), encoding="utf-8") as file:
            self.postmaster = int(file.readline())

    def stop(self):
        environment = dict(os.environ, PG_CONFIG=self.pg_config)
        subprocess.run([os.path.join(ROOT, "tools/cluster"), "stop", self.cluster], env=environment, check=False)
        if os.environ.get("BENCH_KEEP_LOG"):
            shutil.copy(os.path.join(self.cluster, "server.log"), os.environ["BENCH_KEEP_LOG"])
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self):
        with open(os.path.join(self.cluster, "server.log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-30:])

    def cpu_seconds(self):
        """Processor time that the server's processes, the ended ones included, have used so far."""
        total = 0
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if int(entry) == self.postmaster:
                total += sum(map(int, fields[11:15]))  # own, and of the children that it has waited for
            elif int(fields[1]) == self.postmaster:
                total += sum(map(int, fields[11:13]))
        return total / TICKS

    def pgbench(self, sql, clients, seconds):
        """Transactions per second of one script, and how many they were."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql", dir=self.folder, encoding="utf-8") as script:
            script.write(sql)
            script.flush()
            out = call(os.path.join(self.bindir, "pgbench"), "-n", "-M", "prepared", "-c", str(clients),
                       "-j", str(min(clients, 2)), "-T", str(seconds), "-f", script.name)
        return (float(re.search(r"tps = ([\d.]+)", out).group(1)),
                int(re.search(r"transactions actually processed: (\d+)", out).group(1)))


def fdatasync_per_second(folder, seconds=0.5):
    """What the disk allows: commits of one client cannot be faster."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            os.fdatasync(file.fileno())
            count += 1
    return count / seconds


def machine(server, connection):
    """What a reader must know to judge the figures; nothing that names the machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return {
        "postgres": connection.one("SHOW server_version"),
        "processor": model.group(1) if model else "unknown",
        "cores": os.cpu_count(),
        "fdatasync_per_second": round(fdatasync_per_second(server.folder)),
        "load_before": round(os.getloadavg()[0], 2),
    }
