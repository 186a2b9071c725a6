"""A fault under way, and how long it takes to recover from."""

import threading


class Strike:
    """A plan being performed. Two times tell how the cluster took it, each from the fault, or from its end where until then
    nobody could have answered (the coordinator was away, or nobody had the experts):

    - `clients`: until every stream that was under way had its second chunk, or ended well; where none was, until any had one.
      The first may have been on its way when the fault came.
    - `cluster`: from the end of all faults of its blow until every worker serves again and `/ready` says so.
    """

    def __init__(self, plan, begins, cluster, load):
        self.plan, self.cluster, self.load = plan, cluster, load
        self.begins, self.due = begins, begins
        self._pauses = cluster.clock.pauses
        self.is_clean = False
        self.healed = self.since = self.clients = self.whole_after = None
        self._steps = None
        # Clients' threads tell what comes.
        self._lock = threading.Lock()
        self._awaited = {}
        self._needs_any = False

    def proceed(self):
        """Does what is due."""
        now = self.cluster.clock.now
        while self.healed is None and now() >= self.due:
            if self._steps is None:
                self.begins = now()
                self._steps = self.plan.begin(self.cluster)
                if not self.is_outage:
                    self._watch()
            seconds = next(self._steps, None)
            if seconds is not None:
                self.due = now() + seconds
            else:
                self.healed = now()
                if self.since is None:
                    self._watch()

    @property
    def is_outage(self):
        target = self.plan.kind.target
        return target == "coordinator" or (target == "everyone" and not self.cluster.coordinator.computes_experts)

    def _watch(self):
        with self._lock:
            self.load.watchers.append(self)
            self.since = self.cluster.clock.now()
            self._awaited = {attempt: 2 for attempt in self.load.streaming()}
            self._needs_any = not self._awaited

    def end(self, whole_after):
        """All has recovered, the cluster after so many seconds. Times with a pause in them are not counted."""
        self.whole_after = whole_after
        self.is_clean = self.cluster.clock.pauses == self._pauses

    def on_chunk(self, attempt, now):
        with self._lock:
            if attempt in self._awaited:
                self._awaited[attempt] -= 1
                if self._awaited[attempt] == 0:
                    del self._awaited[attempt]
            elif not self._needs_any:
                return
            self._settle(now)

    def on_end(self, attempt, now):
        with self._lock:
            if self._awaited.pop(attempt, None) is not None:
                self._settle(now)

    def _settle(self, now):
        if not self._awaited and self.clients is None:
            self.clients = now - self.since
            self.load.watchers.remove(self)

    def report(self, origin):
        """For JSON."""
        return {
            "kind": self.plan.kind.name,
            "plan": str(self.plan),
            "at": round(self.begins - origin, 3),
            "lasted": round(self.healed - self.begins, 3),
            "clients": round(self.clients, 4) if self.is_clean else None,
            "cluster": round(self.whole_after, 4) if self.is_clean else None,
        }
