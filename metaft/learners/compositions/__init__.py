"""The gradient-based methods by name, each a choice of scope × rule × objective × estimator."""

from __future__ import annotations

from collections.abc import Callable

from metaft.learners.compositions.anil import anil
from metaft.learners.compositions.boil import boil
from metaft.learners.compositions.cavia import cavia
from metaft.learners.compositions.fomaml import fomaml
from metaft.learners.compositions.imaml import imaml
from metaft.learners.compositions.maml import maml
from metaft.learners.compositions.maml_plus_plus import maml_plus_plus
from metaft.learners.compositions.meta_curvature import meta_curvature
from metaft.learners.compositions.meta_sgd import meta_sgd
from metaft.learners.compositions.proto_maml import proto_maml
from metaft.learners.compositions.reptile import reptile
from metaft.learners.maml import MAML

COMPOSITIONS: dict[str, Callable[..., MAML]] = {
    "maml": maml,
    "fomaml": fomaml,
    "anil": anil,
    "boil": boil,
    "reptile": reptile,
    "imaml": imaml,
    "meta-sgd": meta_sgd,
    "cavia": cavia,
    "meta-curvature": meta_curvature,
    "maml++": maml_plus_plus,
    "proto-maml": proto_maml,
}
