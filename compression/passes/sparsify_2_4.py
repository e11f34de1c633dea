"""2:4 sparsity for sparse tensor cores: half of the weights of every layer whose input channels come in fours, the rest re-solved."""

from __future__ import annotations

from ..base import Change, Context, Gain, PassOptions, PassResult, Trait, unchanged
from ..forms.sparse import FORM
from ..network import Network
from ..repair.rebuild import Choice, rebuild


class SparsifyOptions(PassOptions, frozen=True, kw_only=True):
    """There are none: 2:4 is the one pattern that the hardware takes."""


class Sparsify:
    """The pass ``sparsify_2_4``. Zeros buy no time elsewhere, so it is only offered where they may, and undone where they do not."""

    options = SparsifyOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights"})
    ensures: frozenset[Trait] = frozenset({"sparse-2-4"})
    gain: Gain = "time"
    needs_data = True

    def unavailable(self) -> str | None:
        from ...engines.discovery import backend_statuses

        reasons = {status.name: status.reason for status in backend_statuses() if status.name.startswith("tensorrt")}
        if any(reason is None for reason in reasons.values()):
            return None
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "this program has no backend for it here"
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
