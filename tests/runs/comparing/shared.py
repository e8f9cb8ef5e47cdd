"""What tests of comparisons share: a module of one's own, and calls."""

from __future__ import annotations

from click.testing import CliRunner, Result

from metaft.cli import cli

WAVES = ("--dataset", "sinusoid", "--tasks", "8", "--workers", "1")
OWN = '''
import signal, torch
from pathlib import Path
from metaft.data.images import LabelledImages

def marks(split, scheme="alphabets"):
    """Twenty classes of bright images, eight of them in each split; which, depends on the scheme."""
    first = {"train": 0, "val": 8, "test": 12}[split] + (2 if scheme == "shifted" else 0)
    names = tuple(f"mark{n}" for n in range(first, first + 8))
    rng = torch.Generator().manual_seed(first)
    images = torch.randint(0, 255, (8 * 6, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return LabelledImages(images, torch.full((8,), 6), names)

class Mine:
    """Compares images; stops the process's work once if there is a file that says so."""
    name, transductive, params = "mine", False, {}

    def __init__(self, scale: float = 1.0, seed: int = 0):
        self.scale, self.seed = scale, seed

    def adapt(self, support_x, support_y):
        def scores(query_x):
            gaps = self.scale * torch.cdist(query_x.flatten(2), support_x.flatten(2))
            nearest = [gaps.masked_fill((support_y != c)[:, None], 9e9).amin(-1) for c in range(support_y.max() + 1)]
            return -torch.stack(nearest, -1)
        return scores

    def curve(self, batch, steps=None):
        if self.seed == 1 and batch.tasks > 1 and Path("stop").exists():
            raise KeyboardInterrupt
        return self.adapt(batch.support_x, batch.support_y)(batch.query_x)[None]

    def describe(self):
        return {"scale": self.scale, "adapts": 0}
'''


def metaft(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])
