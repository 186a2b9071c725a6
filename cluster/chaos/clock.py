"""Time in which this process ran."""

import threading
import time

# A process that has waited this long for its turn was paused, together with what it measures.
PAUSE = 1.0


class Clock:
    """Seconds without those in which everything was paused, as a debugger, a batch system or a laptop's lid does it."""

    def __init__(self):
        self.pauses = 0
        self._left_out = self._last = time.monotonic()
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self):
        while True:
            time.sleep(0.1)
            self.now()

    def now(self):
        with self._lock:
            time_now = time.monotonic()
            if time_now - self._last > PAUSE:
                self._left_out += time_now - self._last
                self.pauses += 1
            self._last = time_now
            return time_now - self._left_out
