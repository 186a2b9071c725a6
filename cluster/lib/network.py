"""Hosts on one machine, and the cables between them, which can be slow, lossy, or cut.

`Cables` gives each host a network namespace of its own; `Proxies` stands in where that is not permitted: the connections of
every worker then go through a proxy on loopback. Host 0 is the coordinator's, and where this process is.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
import subprocess
import threading

# What a proxied connection waits for a segment that is lost: TCP's least retransmission time-out.
RETRANSMISSION = 0.2


@dataclasses.dataclass(frozen=True)
class Line:
    """One direction of a cable."""

    delay: float = 0.0  # seconds
    rate: float = 0.0  # bytes a second; 0: no limit
    loss: float = 0.0  # share of frames
    cut: bool = False


PERFECT = Line()


class Cables:
    """Namespaces, and a switch between them (`cable.c`, compiled to `program`). This process has a namespace of its own.

    Nothing of it outlives this process: a namespace ends with its last process, and those end with their input."""

    description = "network namespaces"

    def __init__(self, program, hosts, seed=0, prefix=()):
        self._lock = threading.Lock()
        self._holders = [None]
        self._switch = self._start([*prefix, program, str(seed), str(hosts)])
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for host in range(hosts):
            if host:
                holder = self._start(["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
                self._holders.append(holder)
                subprocess.run(["ip", "link", "set", f"cable{host}", "netns", str(holder.pid)], check=True)
            for words in (
                ["link", "set", f"cable{host}", "address", f"02:00:00:00:00:{host:02x}"],
                ["address", "add", f"{self._address(host)}/24", "dev", f"cable{host}"],
                ["link", "set", f"cable{host}", "up"],
            ):
                subprocess.run([*self.inside(host), "ip", *words], check=True)

    @staticmethod
    def _start(command):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command[0]} did not start")
        return process

    @staticmethod
    def _address(host):
        return f"10.77.0.{host + 1}"

    @property
    def bind(self):
        """Where the coordinator is to listen."""
        return self._address(0)

    def coordinator(self, host):
        """The coordinator's address as `host` sees it."""
        return self._address(0)

    def inside(self, host):
        """What a command begins with that is to run on `host`."""
        return ["nsenter", f"--net=/proc/{self._holders[host].pid}/ns/net"] if host else []

    def set(self, host, up=PERFECT, down=PERFECT):
        """`up` is from the host."""
        with self._lock:
            for name, line in (("up", up), ("down", down)):
                words = (host, name, line.delay * 1e6, line.rate, line.loss * 1e6, line.cut)
                self._switch.stdin.write("%d %s %d %d %d %d\n" % words)
                self._switch.stdin.flush()
                if self._switch.stdout.readline() != "ok\n":
                    raise RuntimeError("the switch has ended")

    def reset(self, host):
        """Breaks the host's connections to the coordinator, on both sides at once."""
        for command in ([*self.inside(host), "ss", "-tK", "dst", self._address(0)], ["ss", "-tK", "dst", self._address(host)]):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    def route(self, ports):
        """A host reaches every port."""

    def close(self):
        for process in (self._switch, *self._holders[1:]):
            process.stdin.close()
            process.wait()


class Proxies:
    """Each host reaches the coordinator at a loopback address of its own, where a proxy listens."""

    description = "a proxy on loopback"
    bind = "127.0.0.1"

    def __init__(self, hosts, seed=0):
        self._lines = {(host, name): PERFECT for host in range(hosts) for name in ("up", "down")}
        self._changed = asyncio.Event()
        self._random = random.Random(seed)
        self._connections = {host: set() for host in range(hosts)}
        self._ports = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def coordinator(self, host):
        return f"127.0.0.{host + 1}"

    def inside(self, host):
        return []

    def set(self, host, up=PERFECT, down=PERFECT):
        def change():
            self._lines[host, "up"], self._lines[host, "down"] = up, down
            self._changed.set()
            self._changed = asyncio.Event()

        self._loop.call_soon_threadsafe(change)

    def reset(self, host):
        def abort():
            for writer in list(self._connections[host]):
                # No FIN: the other side learns of it by a reset.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def route(self, ports):
        """The coordinator listens on these ports now."""
        for port in set(ports) - self._ports:
            self._ports.add(port)
            for host in self._connections:
                if host:
                    listening = asyncio.start_server(
                        lambda *streams, host=host, port=port: self._connect(host, port, *streams),
                        self.coordinator(host), port)  # fmt: skip
                    asyncio.run_coroutine_threadsafe(listening, self._loop).result()

    async def _connect(self, host, port, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(self.bind, port)
        except OSError:
            writer.transport.abort()
            return
        self._connections[host] |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(host, "up", reader, far_writer), self._pump(host, "down", far_reader, writer))
        except OSError:
            pass
        finally:
            self._connections[host] -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(self, host, name, reader, writer):
        """Bytes in order, each chunk when it is due."""
        line_of_chunks = asyncio.Queue(maxsize=1024)
        sending = asyncio.create_task(self._deliver(host, name, line_of_chunks, writer))
        try:
            while chunk := await reader.read(65536):
                await line_of_chunks.put((self._loop.time() + self._lines[host, name].delay, chunk))
            await line_of_chunks.put((0, b""))
            await sending
        finally:
            sending.cancel()

    async def _deliver(self, host, name, line_of_chunks, writer):
        while True:
            due, chunk = await line_of_chunks.get()
            if not chunk:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            await asyncio.sleep(due - self._loop.time())
            line = self._lines[host, name]
            if line.loss and self._random.random() < 1 - (1 - line.loss) ** (1 + len(chunk) // 1448):
                await asyncio.sleep(RETRANSMISSION)
            if line.rate:
                await asyncio.sleep(len(chunk) / line.rate)
            while self._lines[host, name].cut:
                await self._changed.wait()
            writer.write(chunk)
            await writer.drain()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
