"""Breaks a cluster under load, on a schedule from a seed, and checks each answer. Called by cluster/chaos/run."""

import argparse
import collections
import concurrent.futures
import http.client
import json
import pathlib
import random
import signal
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("e2e", "lib")]
from clock import Clock  # noqa: E402
from faults import schedule  # noqa: E402
from load import REQUESTS, Attempt, Load, corpus, perform  # noqa: E402
from machines import Cluster  # noqa: E402
from network import Cables, Proxies  # noqa: E402
from processes import Server, running, shoal  # noqa: E402
from strike import Strike  # noqa: E402

# Seconds, of those in which everything ran, after which something that has not come is not going to.
TOO_LONG = 120
# Large enough that an answer takes a while, and small enough that two cores run a cluster of it.
SHAPE = "--preset tiny --layers 6 --experts 16 --hidden 512 --intermediate 512".split()


class Broken(Exception):
    """The cluster is beyond going on."""


def undisturbed(model, requests, folder):
    """The answers of one process, which has no workers."""
    server = Server(model, "--threads", "1", environment={"SHOAL_CACHE": str(folder / "digests")})
    port = int(server.url.rpartition(":")[2])

    def ask(path, body):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        return perform(Attempt(path, body, 0, False, connection))

    with running(server), concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, *zip(*requests)))


class Run:
    def __init__(self, options, network, model, folder):
        self.options, self.folder = options, folder
        self.clock = Clock()
        requests = corpus(options.seed)
        answers = undisturbed(model, requests, folder)
        self.cluster = Cluster(network, folder, model, self.clock)
        self.load = Load(self.cluster, requests, answers, options.seed, folder)
        self.strikes = []
        self.is_interrupted = False
        self.reported = 0
        self.begin = self.clock.now()

    def start(self):
        draw = random.Random(f"coordinator {self.options.seed}")
        self.cluster.coordinator.begin(local_experts=draw.choice(["share", "spare", "none"]), replicas=2)
        for worker in self.cluster.workers:
            worker.start()
        self.until(self.cluster.is_whole, "did not come up")
        self.load.begin()
        self.begin = self.clock.now()

    def until(self, condition, what, each=lambda: None):
        """Waits, and sees to it that everyone is alive meanwhile."""
        begin = self.clock.now()
        looked = 0.0
        while True:
            each()
            for machine in self.cluster.machines:
                if machine.has_ended:
                    raise Broken(f"{machine.name} ended by itself, with {machine.process.process.returncode}")
            self.load.end_what_hangs(TOO_LONG)
            self.tell_failures()
            if self.clock.now() - looked > 0.05:
                if condition():
                    return
                looked = self.clock.now()
            if self.clock.now() - begin > TOO_LONG:
                raise Broken(f"the cluster {what} within {TOO_LONG} s: {self.cluster.coordinator.status()}")
            time.sleep(0.005)

    def blow(self, wait, plans):
        """Performs the plans, and waits until the cluster has recovered."""
        start = self.clock.now() + wait
        strikes = [Strike(plan, start + plan.after, self.cluster, self.load) for plan in plans]
        self.strikes += strikes
        if self.options.verbose:
            print(f"{start - self.begin:8.2f} s  {' | '.join(map(str, plans))}", flush=True)

        def proceed():
            for strike in strikes:
                strike.proceed()

        self.until(lambda: all(strike.healed is not None for strike in strikes), "was not healed", proceed)
        self.until(self.cluster.is_whole, "did not become whole")
        whole_after = self.clock.now() - max(strike.healed for strike in strikes)
        self.until(lambda: all(strike.clients is not None for strike in strikes), "did not go on with its requests")
        for strike in strikes:
            strike.end(whole_after)

    def perform(self):
        try:
            self.start()
            end = self.begin + self.options.minutes * 60
            for wait, plans in schedule(self.options.seed, len(self.cluster.workers), [2, 3]):
                if self.clock.now() > end:
                    break
                self.blow(wait, plans)
            self.load.end()
            self.until(lambda: self.load.has_ended, "did not answer the last requests")
            codes = {name: code for name, code in self.cluster.end().items() if code != 0}
            if codes:
                raise Broken(f"ended with another code than 0: {codes}")
        except Broken as broken:
            self.load.fail(str(broken))
        except KeyboardInterrupt:
            self.is_interrupted = True
            print("interrupted", flush=True)
        finally:
            self.load.close()
            self.tell_failures()
            self.cluster.kill()

    def tell_failures(self):
        while self.reported < len(self.load.failures):
            when, what = self.load.failures[self.reported]
            self.reported += 1
            print(f"FAILURE at {when - self.begin:.2f} s: {what}")
            print(f"  seed {self.options.seed}, logs and answers in {self.folder}; the last faults:")
            for strike in self.strikes[-4:]:
                print(f"  {strike.begins - self.begin:8.2f} s  {strike.plan}", flush=True)

    def report(self):
        counts = self.load.counts
        return {
            "seed": self.options.seed,
            "network": self.cluster.network.description,
            "seconds": round(self.clock.now() - self.begin, 1),
            "pauses": self.clock.pauses,
            "requests": {name: counts[name] for name in ("answered", "given up", "sent again")},
            "tokens": counts["tokens"],
            "failures": [{"at": round(when - self.begin, 3), "what": what} for when, what in self.load.failures],
            "faults": [strike.report(self.begin) for strike in self.strikes if strike.healed is not None],
        }


def percentile(values, share):
    """The least value that so many of them do not exceed."""
    values = sorted(values)
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def table(report):
    """Lines of text: how often each fault was, and how long recovery took."""
    kinds = collections.defaultdict(list)
    for entry in report["faults"]:
        kinds[entry["kind"]].append(entry)
    yield f"{'':32}{'':>6}  {'clients, s':^23}  {'cluster, s':^23}"
    yield f"{'fault':32}{'times':>6}  {'p50':>7} {'p99':>7} {'most':>7}  {'p50':>7} {'p99':>7} {'most':>7}"
    for kind, entries in [*sorted(kinds.items()), ("all", report["faults"])]:
        cells = []
        for name in ("clients", "cluster"):
            times = [entry[name] for entry in entries if entry[name] is not None]
            figures = (percentile(times, 0.5), percentile(times, 0.99), max(times)) if times else ()
            cells.append(" ".join(f"{figure:7.2f}" for figure in figures) or f"{'-':>23}")
        yield f"{kind:32}{len(entries):6}  {cells[0]}  {cells[1]}"
    requests = report["requests"]
    yield ""
    yield (
        f"{report['seconds']:.0f} s over {report['network']}, seed {report['seed']}: {requests['answered']} requests answered "
        f"with the right bytes ({report['tokens']} tokens), {requests['given up']} given up by their clients, "
        f"{requests['sent again']} sent again as the coordinator was away, {len(report['failures'])} failures"
    )


def main():
    parser = argparse.ArgumentParser(prog="cluster/chaos/run")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what is done when (default: another each time)")
    parser.add_argument("--minutes", type=float, default=30, help="for how long (default 30)")
    parser.add_argument("--json", type=pathlib.Path, help="a file for the report")
    parser.add_argument("--verbose", action="store_true", help="print each fault as it comes")
    parser.add_argument("--cable", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    folder = options.folder
    model = folder / "model"
    made = shoal("synthesize", *SHAPE, "--out", model, seconds=None)
    if made.returncode:
        sys.exit(made.stderr)
    network = Cables(options.cable, 5, options.seed) if options.cable else Proxies(5, options.seed)
    print(f"seed {options.seed}, {options.minutes:g} minutes, over {network.description}, {REQUESTS} kinds of requests; "
          f"logs in {folder}", flush=True)  # fmt: skip
    try:
        run = Run(options, network, model, folder)
        run.perform()
    finally:
        network.close()
    report = run.report()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(["", *table(report)]), flush=True)
    sys.exit(1 if report["failures"] else 128 + signal.SIGINT if run.is_interrupted else 0)


if __name__ == "__main__":
    main()
