"""A real OpenSearch of Maven's artifacts on loopback, for the contract suites: `with OpenSearchServer() as server:`.

The zip of the integration tests is the server without its modules; those that analysis needs are jars beside it. It is
fetched once into the cache of this user and copied for each start, since OpenSearch refuses to run as root, and `nobody`,
as whom it then runs, may not enter that cache. `python -m tests.servers.opensearch` starts one for a person.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.unprivileged import TEMPORARY, new_home, user_of

VERSION, LUCENE = "3.8.0", "10.5.0"
LEAST_JAVA = 21
SERVER = f"org.opensearch.distribution.integ-test-zip:opensearch:{VERSION}:zip"
# name -> (its plugin class, its jars)
MODULES = {
    "analysis-common": (
        "org.opensearch.analysis.common.CommonAnalysisModulePlugin",
        (f"org.opensearch.plugin:analysis-common:{VERSION}",),
    ),
    "analysis-nori": (
        "org.opensearch.plugin.analysis.nori.AnalysisNoriPlugin",
        (f"org.opensearch.plugin:analysis-nori:{VERSION}", f"org.apache.lucene:lucene-analysis-nori:{LUCENE}"),
    ),
}
NOT_NEEDED = "modules/ingest-geoip", "modules/transport-grpc", "lib/tools"  # half of the bytes
FETCH_SECONDS, START_SECONDS = 900, 300


class NoOpenSearch(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


class OpenSearchServer:
    """An empty server that ends with its data when the block ends; `url` is its address. Raises NoOpenSearch.

    For tests of outages it may be killed, and started again on the same data and port, or paused as if it hung.
    """

    def __enter__(self) -> OpenSearchServer:
        self._java = _java()
        distribution = _distribution()
        self._as_user = user_of("nobody")
        self._home = _new_home(self._as_user)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            shutil.copytree(distribution, self._home / "server")
            http, transport = _free_ports(2)
            self.url = f"http://127.0.0.1:{http}"
            self._configure(http, transport)
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> None:
        """Start the process and wait until it answers. Raises RuntimeError with the end of its log."""
        path = f"{Path(self._java) / 'bin'}:/usr/bin:/bin"
        variables = {"OPENSEARCH_JAVA_HOME": self._java, "HOME": str(self._home), "PATH": path, "LANG": "C.UTF-8"}
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [str(self._home / "server" / "bin" / "opensearch")],
                cwd=self._home,
                env=variables | {"OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx512m"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user,
            )
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """It keeps its connections and answers nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def log(self) -> Path:
        return self._home / "log"

    def _configure(self, http: int, transport: int) -> None:
        config = self._home / "server" / "config"
        lines = (
            "cluster.name: ledgerline-tests",
            "discovery.type: single-node",
            "network.host: 127.0.0.1",
            f"http.port: {http}",
            f"transport.port: {transport}",
            "cluster.routing.allocation.disk.threshold_enabled: false",  # the tests' machine may be full; theirs to say
        )
        (config / "opensearch.yml").write_text("\n".join(lines) + "\n")
        if self._as_user:
            for folder, _, names in os.walk(self._home):
                for path in (folder, *(os.path.join(folder, name) for name in names)):
                    os.chown(path, self._as_user["user"], self._as_user["group"])

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=2s"
                with urllib.request.urlopen(health, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"OpenSearch did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)

    def _end(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


def _java() -> str:
    """The home of a Java that is new enough: OPENSEARCH_JAVA_HOME, JAVA_HOME, or the newest below /usr/lib/jvm."""
    given = [os.environ[name] for name in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME") if os.environ.get(name)]
    installed = sorted(map(str, Path("/usr/lib/jvm").glob("*")), key=_java_version, reverse=True)
    for home in (*given, *installed):
        if _java_version(home) >= LEAST_JAVA:
            return home
    raise NoOpenSearch(
        f"OpenSearch {VERSION} needs Java {LEAST_JAVA} or newer: install one and name its folder in OPENSEARCH_JAVA_HOME"
    )


def _java_version(home: str) -> int:
    try:
        found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', (Path(home) / "release").read_text())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def _distribution() -> Path:
    """The unpacked server with its modules, fetched where it is not in the cache yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ledgerline" / "servers"
    target = base / f"opensearch-{VERSION}"
    if target.is_dir():
        return target
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base / f"opensearch-{VERSION}.lock"):
        if not target.is_dir():  # otherwise another process fetched it meanwhile
            aside = Path(tempfile.mkdtemp(prefix=".fetching-", dir=base))
            try:
                _assemble(aside).rename(target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _assemble(aside: Path) -> Path:
    with zipfile.ZipFile(_fetch(SERVER, aside)) as archive:
        archive.extractall(aside)
    server = aside / f"opensearch-{VERSION}"
    for unneeded in NOT_NEEDED:
        shutil.rmtree(server / unneeded, ignore_errors=True)
    for program in (server / "bin").iterdir():
        program.chmod(0o755)
    for name, (plugin, jars) in MODULES.items():
        folder = server / "modules" / name
        if folder.is_dir():  # some builds of the zip have it
            continue
        folder.mkdir()
        for jar in jars:
            _fetch(jar, folder)
        described = {
            "description": name,
            "version": VERSION,
            "opensearch.version": VERSION,
            "java.version": str(LEAST_JAVA),
            "name": name,
            "classname": plugin,
            "extended.plugins": "",
            "has.native.controller": "false",
        }
        (folder / "plugin-descriptor.properties").write_text("".join(f"{k}={v}\n" for k, v in described.items()))
    return server


def _fetch(artifact: str, folder: Path) -> Path:
    """The artifact's file, copied into the folder by Maven."""
    if shutil.which("mvn") is None:
        raise NoOpenSearch("OpenSearch is fetched by Maven, and there is no `mvn`: apt-get install maven")
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
    command = ["mvn", "-B", "-q", goal, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoOpenSearch(f"Maven did not fetch {artifact} within {FETCH_SECONDS} s: try again") from None
    if done.returncode:
        raise NoOpenSearch(f"Maven cannot fetch {artifact}: {(done.stdout.strip() or done.stderr.strip())[-500:]}")
    return next(folder.glob(f"{artifact.split(':')[1]}-*"))


def _new_home(as_user: dict[str, Any]) -> Path:
    home = new_home("opensearch", as_user)
    if home is None:
        folders = ", ".join((tempfile.gettempdir(), *TEMPORARY))
        raise NoOpenSearch(f"no folder of {folders} can be entered by `nobody`")
    return home


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


if __name__ == "__main__":
    with OpenSearchServer() as started:
        ends = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # only a blocked signal can be waited for
        print(f"export OPENSEARCH_URL={started.url}", flush=True)
        signal.sigwait(ends)
