"""What is done to the cluster. Each fault is a generator: it does something, yields how many seconds to wait, and has healed
what it did when it ends. Its parameters are drawn from ranges or lists."""

import dataclasses
import random
import signal

from network import Line

KINDS = {}


@dataclasses.dataclass(frozen=True)
class Kind:
    perform: object
    # What it is done to: "worker", "cached" (a worker with a cache), "coordinator" or "everyone".
    target: str
    ranges: dict

    @property
    def name(self):
        return self.perform.__name__.replace("_", " ")

    def draw(self, draw):
        return {
            name: draw.choice(values) if isinstance(values, list) else round(draw.uniform(*values), 3)
            for name, values in self.ranges.items()
        }


def fault(target="worker", **ranges):
    def register(perform):
        KINDS[perform.__name__] = Kind(perform, target, ranges)
        return perform

    return register


@fault(seconds=(0.1, 3))
def kill(cluster, worker, seconds):
    worker.kill()
    yield seconds
    worker.start()


@fault(seconds=(0.1, 1), times=[2, 3, 4])
def kill_again_and_again(cluster, worker, seconds, times):
    for _ in range(times):
        worker.kill()
        worker.start()
        yield seconds


@fault(seconds=(0.2, 6))
def stop_and_continue(cluster, worker, seconds):
    worker.signal(signal.SIGSTOP)
    yield seconds
    worker.signal(signal.SIGCONT)


@fault(seconds=(0.1, 2))
def leave(cluster, worker, seconds):
    leaving = worker.ask_to_end()
    while leaving.poll() is None:
        yield 0.05
    yield seconds
    worker.start()


@fault(seconds=(1, 6), share=(0.5, 0.95))
def slow_processor(cluster, worker, seconds, share):
    """Stopped for that share of each fifth of a second."""
    for _ in range(int(seconds * 5)):
        worker.signal(signal.SIGSTOP)
        yield 0.2 * share
        worker.signal(signal.SIGCONT)
        yield 0.2 * (1 - share)


def with_lines(cluster, worker, seconds, **lines):
    cluster.network.set(worker.host, **lines)
    yield seconds
    cluster.network.set(worker.host)


@fault(seconds=(1, 6), milliseconds=(2, 100))
def delay(cluster, worker, seconds, milliseconds):
    line = Line(delay=milliseconds / 1000)
    yield from with_lines(cluster, worker, seconds, up=line, down=line)


@fault(seconds=(1, 6), share=(0.005, 0.15))
def loss(cluster, worker, seconds, share):
    yield from with_lines(cluster, worker, seconds, up=Line(loss=share), down=Line(loss=share))


@fault(seconds=(1, 6), kilobytes=(50, 2000))
def slow_link(cluster, worker, seconds, kilobytes):
    line = Line(rate=kilobytes * 1000)
    yield from with_lines(cluster, worker, seconds, up=line, down=line)


@fault(seconds=(0.3, 7))
def partition(cluster, worker, seconds):
    yield from with_lines(cluster, worker, seconds, up=Line(cut=True), down=Line(cut=True))


@fault(seconds=(0.3, 7))
def partition_to_the_coordinator(cluster, worker, seconds):
    yield from with_lines(cluster, worker, seconds, up=Line(cut=True))


@fault(seconds=(0.3, 7))
def partition_from_the_coordinator(cluster, worker, seconds):
    yield from with_lines(cluster, worker, seconds, down=Line(cut=True))


@fault(times=[1, 2, 5])
def reset_connections(cluster, worker, times):
    for _ in range(times):
        cluster.network.reset(worker.host)
        yield 0.2


@fault(seconds=(0.2, 2))
def revoke_the_key(cluster, worker, seconds):
    names = [other.name for other in cluster.workers]
    cluster.keys.admit([name for name in names if name != worker.name])
    yield seconds
    cluster.keys.admit(names)


@fault(target="cached", files=[1, 3, 8], seed=(0, 1))
def corrupt_the_cache(cluster, worker, files, seed):
    draw = random.Random(seed)
    worker.kill()
    cached = worker.cached()
    for file in draw.sample(cached, min(files, len(cached))):
        data = bytearray(file.read_bytes())
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        else:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
    yield 0
    worker.start()


@fault(target="cached", seconds=(1, 4), kept=(0, 1))
def fill_the_disk(cluster, worker, seconds, kept):
    """Of the cache, which is not whole, and stays so."""
    worker.kill()
    cached = worker.cached()
    for file in cached[int(kept * len(cached)) :]:
        file.unlink()
    worker.start_without_disk()
    yield seconds
    worker.empty_disk()


@fault(target="everyone", seconds=(0.2, 3), orderly=[False, False, True])
def all_workers_gone(cluster, _, seconds, orderly):
    leaving = []
    for worker in cluster.workers:
        if orderly:
            leaving.append(worker.ask_to_end())
        else:
            worker.kill()
    while any(process.poll() is None for process in leaving):
        yield 0.05
    yield seconds
    for worker in cluster.workers:
        worker.start()


@fault(target="everyone", seconds=(0.2, 5))
def all_workers_cut_off(cluster, _, seconds):
    for worker in cluster.workers:
        cluster.network.set(worker.host, up=Line(cut=True), down=Line(cut=True))
    yield seconds
    for worker in cluster.workers:
        cluster.network.set(worker.host)


# What a coordinator may come back with; hedging after milliseconds, or 0 for never.
COORDINATOR = {
    "local_experts": ["share", "spare", "none"],
    "replicas": [1, 2, "auto"],
    "hedge": ["auto", "auto", 0, 20],
    "verify_rate": [0.001, 0.2],
}


@fault(target="coordinator", seconds=(0, 3), **COORDINATOR)
def kill_the_coordinator(cluster, coordinator, seconds, **flags):
    coordinator.leave(abruptly=True)
    yield seconds
    coordinator.begin(**flags)


@fault(target="coordinator", seconds=(0, 1), **COORDINATOR)
def restart_the_coordinator(cluster, coordinator, seconds, **flags):
    """In the orderly way: what it has accepted it answers."""
    leaving = coordinator.leave(abruptly=False)
    while leaving.poll() is None:
        yield 0.05
    yield seconds
    coordinator.begin(**flags)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A fault to come: whom it hits, how, and how long after the first of its blow."""

    kind: Kind
    worker: int  # counted from 0; nobody's where the target is not a worker
    parameters: dict
    after: float

    def __str__(self):
        whom = f" worker{self.worker + 1}" if self.kind.target in ("worker", "cached") else ""
        words = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.kind.name}{whom} {words}" + (f" after={self.after}" if self.after else "")

    def begin(self, cluster):
        target = cluster.coordinator if self.kind.target == "coordinator" else cluster.workers[self.worker]
        return self.kind.perform(cluster, target, **self.parameters)


def schedule(seed, workers, cached):
    """Blows without end, each of one fault or of two at different workers: (seconds to wait before it, plans). Each kind
    comes once before any comes again."""
    draw = random.Random(f"faults {seed}")
    while True:
        kinds = list(KINDS.values())
        draw.shuffle(kinds)
        for kind in kinds:
            worker = draw.choice(cached) if kind.target == "cached" else draw.randrange(workers)
            plans = [Plan(kind, worker, kind.draw(draw), 0)]
            if kind.target in ("worker", "cached") and draw.random() < 0.25:
                other = draw.choice([other for other in KINDS.values() if other.target == "worker"])
                another = draw.choice([index for index in range(workers) if index != worker])
                plans.append(Plan(other, another, other.draw(draw), round(draw.uniform(0, 1), 3)))
            yield round(draw.uniform(0.2, 1.5), 3), plans
