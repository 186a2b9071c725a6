"""Key pairs for a cluster's processes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from processes import shoal  # noqa: E402


class Keys:
    """A coordinator's pair and its workers', and the list of those that it admits, in a folder."""

    def __init__(self, folder, names):
        self.folder = folder
        for name in ("coordinator", *names):
            made = shoal("keygen", folder / name)
            if made.returncode:
                raise RuntimeError(made.stderr)
        self.admit(names)

    def admit(self, names):
        """At once, and nobody else."""
        draft = self.folder / "authorized.new"
        draft.write_text("# workers\n" + "".join((self.folder / f"{name}.pub").read_text() for name in names))
        draft.replace(self.folder / "authorized")

    @property
    def coordinator(self):
        """Flags of `shoal serve`."""
        return ["--key", self.folder / "coordinator.key", "--authorized", self.folder / "authorized"]

    def worker(self, name):
        """Flags of `shoal worker`."""
        return ["--key", self.folder / f"{name}.key", "--coordinator-key", self.folder / "coordinator.pub"]
