"""Who is still there: ranks give signs of life, so that a dead one is named and a slow one is left alone.

A time limit on a collective could not tell a rank that has died from one that still compiles or computes.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import torch.distributed as dist

from metaft.distributed.place import Place
from metaft.errors import MetaftError

BEAT = 1.0
"""Seconds between signs of life."""

PATIENCE = 20.0
"""Seconds without one after which a rank that others wait for counts as dead."""

VERDICT = 5.0
"""The same once a connection has broken: then somebody is gone already."""

ARRIVAL = 300.0
"""Seconds that ranks wait for each other at the start."""


def connect(at: Place, host: bool = False, seconds: float = ARRIVAL) -> dist.Store:
    """Open a connection to the meeting point.

    Args:
        at: this rank's place.
        host: hold the meeting point, should that be this rank's duty (torchrun usually holds it).
        seconds: how long to try, and how long a look-up may take.

    Returns:
        The store, apart from those of earlier starts of the same program.

    Raises:
        MetaftError: if there is no answer.
    """
    hosts = host and at.first and not at.agent
    try:
        store = dist.TCPStore(
            at.address, at.port, None, hosts, timeout=timedelta(seconds=seconds), wait_for_workers=False
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise MetaftError(
            f"rank {at.rank} reaches no meeting point at {at.address}:{at.port} "
            f"({str(error).splitlines()[0][:120]}); check torchrun's --rdzv-endpoint or --master-addr"
        ) from None
    return dist.PrefixStore(f"metaft/{at.restarts}", store)


class Liveness:
    """This rank's signs of life, and those of the others.

    Args:
        at: this rank's place.

    Raises:
        MetaftError: if the meeting point does not answer, or some ranks do not arrive; it names them.
    """

    def __init__(self, at: Place) -> None:
        self.at, self.store = at, connect(at, host=True)
        self.others = [rank for rank in range(at.size) if rank != at.rank]
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._end = threading.Event()
        # A connection of its own: the main thread may be waiting on the other.
        self._thread = threading.Thread(target=self._beat, args=(connect(at),), name="metaft-beat", daemon=True)
        self._thread.start()
        try:
            self._await_all()
        except MetaftError:
            self.close()
            raise
        # From here on a dead meeting point must not hold anybody up for long.
        self.store.set_timeout(timedelta(seconds=PATIENCE / 2))

    def silent(self, patience: float) -> list[int]:
        """Ranks that have shown no sign of life for a while, as far as this rank has looked.

        Args:
            patience: seconds; counted from the first look, so that it takes several of them.

        Returns:
            The ranks, without those that have left on purpose.
        """
        now = time.monotonic()
        there = [rank for rank in self.others if not self.store.check([f"left/{rank}"])]
        for rank, value in zip(there, self.store.multi_get([f"beat/{rank}" for rank in there]), strict=True):
            if rank not in self._seen or self._seen[rank][0] != value:
                self._seen[rank] = value, now
        return [rank for rank in there if now - self._seen[rank][1] >= patience]

    def leave(self, reason: str = "") -> None:
        """Tell the others that this rank gives up.

        Args:
            reason: its own failure; empty if it gives up because another one is gone.
        """
        try:
            if reason:
                self.store.set(f"failed/{self.at.rank}", reason)
            self.store.set(f"left/{self.at.rank}", "1")
        except RuntimeError:
            pass  # The meeting point is gone as well: nobody is left to tell.

    def verdict(self) -> str:
        """Find out why a connection broke.

        Returns:
            A sentence that names the rank.
        """
        self._seen.clear()
        deadline = time.monotonic() + 2 * VERDICT
        try:
            while time.monotonic() < deadline:
                for rank in self.others:
                    if self.store.check([f"failed/{rank}"]):
                        return f"rank {rank} of {self.at.size} failed: {self.store.get(f'failed/{rank}').decode()}"
                gone = self.silent(VERDICT)
                if gone:
                    return died(gone, self.at.size)
                time.sleep(BEAT / 4)
        except RuntimeError:
            holder = "torchrun's first machine" if self.at.agent else "rank 0"
            return f"{holder}, which holds the ranks' meeting point, does not answer any more"
        return f"a connection of rank {self.at.rank} of {self.at.size} broke, though all ranks are alive"

    def close(self) -> None:
        """Stop giving signs of life; left to the end of the process, the thread would be cut off inside a call."""
        self._end.set()
        self._thread.join(timeout=PATIENCE)

    def _beat(self, store: dist.Store) -> None:
        count = 0
        while True:
            try:
                store.set(f"beat/{self.at.rank}", str(count))
            except RuntimeError:
                return  # Whoever waits for a rank notices that the meeting point is gone.
            count += 1
            if self._end.wait(BEAT):
                return

    def _await_all(self) -> None:
        try:
            self.store.wait([f"beat/{rank}" for rank in self.others], timedelta(seconds=ARRIVAL))
        except RuntimeError:
            absent = [str(rank) for rank in self.others if not self.store.check([f"beat/{rank}"])]
            raise MetaftError(
                f"rank {', '.join(absent)} of {self.at.size} did not arrive within {ARRIVAL:.0f} s"
            ) from None


def died(ranks: list[int], size: int) -> str:
    """Say which ranks are gone."""
    names = ", ".join(map(str, ranks))
    many = "s" if len(ranks) > 1 else ""
    return f"rank{many} {names} of {size} died or {'hang' if many else 'hangs'}: no sign of life any more"
