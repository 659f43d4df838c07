"""A real Gremlin Server on loopback, for the contract suites: `with running_gremlin() as server: server.url`.

Its jars are fetched once, by Maven, into a cache outside the checkout. The graph is TinkerGraph with transactions: as on
Neptune a request is one transaction, and two that change the same element at once end in a conflict. What Neptune
adds to the protocol is in `tests/servers/neptune.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port

VERSION = "3.8.1"
START_SECONDS = 180.0  # it takes 2 s, and a minute where 20 others want the processor
FETCH_SECONDS = 600.0
READY = "Channel started at port"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>ledgerline</groupId><artifactId>gremlin-server</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.tinkerpop</groupId><artifactId>gremlin-server</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>ch.qos.logback</groupId><artifactId>logback-classic</artifactId><version>1.3.14</version></dependency>
</dependencies></project>
"""
GRAPH = """gremlin.graph=org.apache.tinkerpop.gremlin.tinkergraph.structure.{graph}
gremlin.tinkergraph.vertexIdManager=ANY
gremlin.tinkergraph.edgeIdManager=ANY
"""
# Groovy, which Neptune does not have, binds `g` here and does nothing else: the platform sends bytecode alone.
SCRIPT = "[g: traversal().withEmbedded(graph)]\n"
LOG = """<configuration>
<appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%level %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""
SETTINGS = """host: 127.0.0.1
port: {port}
channelizer: org.apache.tinkerpop.gremlin.server.channel.WebSocketChannelizer
graphs: {{graph: graph.properties}}
scriptEngines:
  gremlin-lang: {{}}
  gremlin-groovy:
    plugins:
      org.apache.tinkerpop.gremlin.server.jsr223.GremlinServerGremlinPlugin: {{}}
      org.apache.tinkerpop.gremlin.tinkergraph.jsr223.TinkerGraphGremlinPlugin: {{}}
      org.apache.tinkerpop.gremlin.jsr223.ScriptFileGremlinPlugin: {{files: [globals.groovy]}}
serializers:
  - {{className: org.apache.tinkerpop.gremlin.util.ser.GraphSONMessageSerializerV3}}
  - {{className: org.apache.tinkerpop.gremlin.util.ser.GraphBinaryMessageSerializerV1}}
"""


class NoGremlinServer(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


class GremlinServer:
    """A server in a folder of its own, on a port that stays the same when it is started again; its graph does not."""

    def __init__(self, jars: Path, home: Path, *, heap: str = "512m", transactions: bool = True) -> None:
        self.jars, self.home, self.heap = jars, home, heap
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/gremlin"
        self._process: subprocess.Popen[bytes] | None = None
        (home / "graph.properties").write_text(
            GRAPH.format(graph="TinkerTransactionGraph" if transactions else "TinkerGraph")
        )
        (home / "globals.groovy").write_text(SCRIPT)
        (home / "logback.xml").write_text(LOG)
        (home / "server.yaml").write_text(SETTINGS.format(port=self.port))

    @property
    def log(self) -> Path:
        return self.home / "log"

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError with the end of its log."""
        command = [
            "java",
            f"-Xmx{self.heap}",
            "-Dlogback.configurationFile=logback.xml",
            "-cp",
            f"{self.jars}/*",
            "org.apache.tinkerpop.gremlin.server.GremlinServer",
        ]
        with open(self.log, "wb") as out:
            self._process = subprocess.Popen(
                [*command, "server.yaml"], cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_SECONDS
        while READY not in (text := self.log.read_text(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"Gremlin Server did not start:\n{text[-2000:]}")
            time.sleep(0.05)

    def hang(self) -> None:
        """It keeps its connections and answers nothing, until `go_on`."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; its graph, which is in memory, is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _send(self, which: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(which)


@contextmanager
def running_gremlin(*, heap: str = "512m", transactions: bool = True) -> Iterator[GremlinServer]:
    """A new, empty server, which ends with its graph when the block ends; the bundled facts need a heap of 2 GB.

    Without transactions a load takes a third of the time; nothing else differs as long as one process writes.
    Raises NoGremlinServer where it cannot be had, RuntimeError with the end of its log where it does not start.
    """
    jars = gremlin_jars()
    with tempfile.TemporaryDirectory(prefix="ledgerline-gremlin-") as home:
        server = GremlinServer(jars, Path(home), heap=heap, transactions=transactions)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def gremlin_jars() -> Path:
    """The folder with the server's jars, fetched where it is not there. Raises NoGremlinServer."""
    if shutil.which("java") is None:
        raise NoGremlinServer("no Java for Gremlin Server: apt-get install openjdk-17-jre-headless")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ledgerline" / "servers"
    jars = cache / f"gremlin-server-{VERSION}"
    if jars.is_dir():
        return jars
    if shutil.which("mvn") is None:
        raise NoGremlinServer(f"no Maven to fetch Gremlin Server {VERSION} with: apt-get install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as aside:
        _fetch(Path(aside))
        try:
            os.rename(Path(aside) / "lib", jars)  # whole or not at all
        except OSError:
            if not jars.is_dir():  # another process was not the faster one
                raise
    return jars


def _fetch(aside: Path) -> None:
    (aside / "pom.xml").write_text(POM)
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"]
    try:
        done = subprocess.run(command, cwd=aside, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoGremlinServer(f"Maven did not fetch Gremlin Server {VERSION} within {FETCH_SECONDS:.0f} s") from None
    if done.returncode:
        raise NoGremlinServer(f"Maven cannot fetch Gremlin Server {VERSION}: {(done.stdout + done.stderr)[-500:]}")
