"""2:4 sparsity for sparse tensor cores: half of the weights of every layer whose input channels come in fours, the rest re-solved."""

from __future__ import annotations

from ..base import Change, Context, Gain, PassOptions, PassResult, Trait, unchanged
from ..forms.sparse import FORM
from ..network import Network
from ..repair.rebuild import Choice, rebuild

# Whose kernels skip zeros of this pattern.
SPARSE_BACKENDS = ("tensorrt", "tensorrt_rtx")


class SparsifyOptions(PassOptions, frozen=True, kw_only=True):
    """There are none: 2:4 is the one pattern that the hardware takes."""


class Sparsify:
    """The pass ``sparsify_2_4``. Zeros buy no time elsewhere: offered where kernels for them are, undone where those are not faster, measured."""

    options = SparsifyOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights"})
    ensures: frozenset[Trait] = frozenset({"sparse-2-4"})
    gain: Gain = "sparse-time"
    needs_data = True

    def unavailable(self) -> str | None:
        from ...engines.discovery import load_backend

        reasons = {name: load_backend(name).unavailable() for name in SPARSE_BACKENDS}
        if any(reason is None for reason in reasons.values()):
            return None
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return f"2:4 gains time only on NVIDIA GPUs of Ampere and later, with TensorRT ({why})"

    def call(self, network: Network, options: SparsifyOptions, context: Context) -> PassResult:
        chosen = [layer for layer in network.layers if FORM.refusal(layer) is None]
        if not chosen:
            return unchanged(network, "no layer's input channels come in fours")
        plan = {layer.name: Choice(FORM, ()) for layer in chosen}
        samples = context.data()
        plain = rebuild(network, plan, samples, context.engine, repair=False, progress=lambda share, note: context.progress(0.4 * share, note))
        rebuilt = plain
        if context.repair:
            rebuilt = rebuild(network, plan, samples, context.engine, progress=lambda share, note: context.progress(0.4 + 0.6 * share, note))
        changes = tuple(Change(name, "2 of 4 weights", rebuilt.errors[name]) for name in plan)
        return PassResult(rebuilt.model, modified=True, unrepaired=plain.model, changes=changes)


PASS = Sparsify()
