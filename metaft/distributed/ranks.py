"""Tasks divided among ranks, and what they found put together again."""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import os
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metaft.distributed.place import Place, place
from metaft.distributed.share import Share
from metaft.distributed.world import ALONE, Gradient, Job, World
from metaft.errors import MetaftError
from metaft.tasks.batch import TaskBatch

if TYPE_CHECKING:
    from metaft.distributed.liveness import Liveness

SLICE = 5.0
"""Seconds to wait for the others before looking whether they are alive."""

NEVER = timedelta(days=365)
"""torch's own limit on a collective: signs of life decide instead."""


class RankLostError(MetaftError):
    """Another rank is gone, and with it this computation."""


class Ranks(World):
    """One of several ranks.

    Args:
        at: its place.
        liveness: of all ranks.
    """

    def __init__(self, at: Place, liveness: Liveness) -> None:
        self.place, self._liveness, self._signum, self._parted, self._stuck = at, liveness, 0, "", False
        self._awaiting = False  # a collective that has not ended

    def share(self, batch: TaskBatch) -> Share:
        """As `World`: a stretch of the tasks; lengths differ by one at most."""
        rank, size, tasks = self.place.rank, self.place.size, batch.tasks
        start, stop = rank * tasks // size, (rank + 1) * tasks // size
        return Share(batch[start:stop], start, tasks) if start < stop else Share(batch[:1], 0, tasks, counts=False)

    def agree(self, out: Gradient, share: Share, seconds: float, signum: int) -> tuple[Gradient, float]:
        """As `World`: one flat buffer holds gradients, losses, the clock of rank 0 and every rank's signal."""
        gathered = getattr(out, "gathered", {})
        means = [*out.grads.values(), *gathered.values()]
        flat = torch.cat([g.reshape(-1) for g in means])
        notes = torch.zeros(2 + self.size, dtype=torch.float64)
        notes[2 + self.place.rank] = signum
        if self.first:
            coarse = float(torch.tensor(seconds, dtype=flat.dtype))  # two numbers hold what a float32 rounds off
            notes[0], notes[1] = coarse, seconds - coarse
        parts = [share.weighted(flat), share.placed(out.losses.to(flat)), notes.to(flat)]
        flat, losses, said = self._sum(torch.cat(parts)).split([part.numel() for part in parts])
        pieces = [piece.view_as(g) for g, piece in zip(means, flat.split([g.numel() for g in means]), strict=True)]
        agreed: dict[str, Any] = {"loss": losses.mean(), "losses": losses}
        agreed["grads"] = dict(zip(out.grads, pieces, strict=False))
        if gathered:
            agreed["gathered"] = dict(zip(gathered, pieces[len(out.grads) :], strict=True))
        coarse, fine, *signals = said.tolist()
        self._signum = int(max(signals))
        return dataclasses.replace(out, **agreed), coarse + fine

    def stopping(self, signum: int) -> int:
        """As `World`."""
        return self._signum

    def mean(self, values: list[float], share: Share) -> list[float]:
        """As `World`."""
        means: list[float] = self._sum(share.weighted(torch.tensor(values, dtype=torch.float64))).tolist()
        return means

    def map_tasks(self, job: Job, batches: Iterable[TaskBatch]) -> Tensor:
        """As `World`: batch i is done by rank i modulo their number; adding zeros changes no bit of a result."""
        found: list[tuple[int, Tensor]] = []
        spare, total = None, 0
        for number, batch in enumerate(batches):
            spare = batch if spare is None else spare
            if number % self.size == self.place.rank:
                found.append((total, job(batch, total)))
            total += batch.tasks
        if spare is None:
            return torch.empty(0, dtype=torch.float64)
        shape = (found[0][1] if found else job(spare, 0)).shape[:-1]
        whole = torch.zeros(*shape, total, dtype=torch.float64)
        for start, result in found:
            whole[..., start : start + result.shape[-1]] = result
        return self._sum(whole)

    def from_first(self, content: bytes) -> bytes:
        """As `World`."""
        length = int(self._sum(torch.tensor([len(content) if self.first else 0], dtype=torch.float64)))
        if not length:
            return b""
        sent = torch.zeros(length, dtype=torch.uint8)
        if self.first:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        return bytes(self._sum(sent).numpy())

    def require_same(self, what: str, content: bytes) -> None:
        """As `World`."""
        digest = torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8)
        table = torch.zeros(self.size, 32, dtype=torch.uint8)
        table[self.place.rank] = digest
        table = self._sum(table)
        differing = (table != table[0]).any(-1).nonzero().flatten().tolist()
        if differing:
            raise MetaftError(f"rank {differing[0]} has other {what} than rank 0; start all ranks with the same")

    def seed(self, seed: int, iteration: int) -> None:
        """As `World`."""
        text = f"{seed}/{iteration}/{self.place.rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))

    def device(self, device: torch.device) -> torch.device:
        """As `World`."""
        if device.type != "cuda":
            return device
        if self.place.local_size > torch.cuda.device_count():
            raise MetaftError(
                f"{self.place.local_size} ranks on this machine, but {torch.cuda.device_count()} CUDA device(s): start "
                f"torchrun with --nproc-per-node={torch.cuda.device_count()}, or give --device cpu"
            )
        torch.cuda.set_device(self.place.local_rank)
        return torch.device("cuda", self.place.local_rank)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """As `World`; a rank that was asked to stop, as all were, has not failed."""
        if isinstance(error, Exception) and not isinstance(error, RankLostError):
            self._part(str(error) or type(error).__name__, own=True)

    def _sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place: the same bits on every rank."""
        import torch.distributed as dist

        if self._parted:
            raise RankLostError(f"the ranks have parted: {self._parted}")
        self._awaiting = True
        try:
            self._await(dist.all_reduce(tensor, async_op=True), tensor)
        except RuntimeError:
            self._awaiting = False
            reason = self._liveness.verdict()
        else:
            self._awaiting = False
            return tensor
        self._part(reason)
        raise RankLostError(reason)

    def _await(self, work: Any, tensor: Tensor) -> None:
        looked = time.monotonic()
        while True:
            if tensor.device.type == "cpu":
                try:
                    work.wait(timedelta(seconds=SLICE))
                    return
                except RuntimeError:
                    if work.is_completed():
                        work.wait()
                        return
            elif work.is_completed():
                work.wait()
                return
            else:
                time.sleep(1e-4)  # a time limit given to nccl would end the program
            if time.monotonic() - looked >= SLICE:
                looked = time.monotonic()
                self._require_alive()

    def _require_alive(self) -> None:
        from metaft.distributed.liveness import PATIENCE, died

        gone = self._liveness.silent(PATIENCE)
        if gone:
            self._stuck = True
            self._part(died(gone, self.size))
            raise RankLostError(died(gone, self.size))

    def _part(self, reason: str, own: bool = False) -> None:
        """Close all connections, so that nobody waits for this rank."""
        import torch.distributed as dist

        if not self._parted:
            self._parted = reason
            self._liveness.leave(reason if own else "")
            if dist.is_initialized() and not self._stuck:  # destroying would wait for the silent rank
                dist.destroy_process_group()

    def close(self) -> None:
        """At the end of the process: nothing can call off a collective that a silent rank never joined.

        All other threads end here. One that lets go of a tensor while Python shuts down would abort the process.
        """
        import torch.distributed as dist

        self._liveness.close()
        if dist.is_initialized() and not self._awaiting:
            dist.destroy_process_group()
        if self._stuck:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)  # or this process would wait for that rank for good


@lru_cache(maxsize=1)
def join() -> World:
    """Join the ranks that torchrun has started: every rank must call what uses them, in the same order.

    Returns:
        This process's part; `ALONE` without torchrun's environment, or with one rank.

    Raises:
        MetaftError: if the environment is incomplete or other ranks do not arrive.
    """
    at = place()
    if at.size == 1:
        return ALONE
    import torch.distributed as dist

    from metaft.distributed.liveness import Liveness

    liveness = Liveness(at)
    ranks = Ranks(at, liveness)
    atexit.register(ranks.close)  # first: what follows may fail
    if not dist.is_initialized():
        store = dist.PrefixStore("group", liveness.store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=at.rank, world_size=at.size, timeout=NEVER)
    return ranks
