"""A space as a value that can be kept on disk, so that a run that was cut short does not weigh the network again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..coupling import couple
from ..forms._base import Form as FormKind
from ..network import Network
from ..repair.rebuild import Choice
from .space import Form, Space, Width, sites_of


class KeptForm(msgspec.Struct, frozen=True, array_like=True):
    """A form by its name, its rank and its damage."""

    name: str
    rank: tuple[int, ...]
    damage: float


class KeptSpace(msgspec.Struct, frozen=True):
    """The widths, and the forms by layer."""

    widths: tuple[tuple[tuple[str, ...], tuple[tuple[int, ...], ...], tuple[float, ...]], ...]
    forms: dict[str, tuple[KeptForm, ...]]


def kept(space: Space) -> KeptSpace:
    return KeptSpace(
        widths=tuple((width.makers, width.levels, width.damages) for width in space.widths),
        forms={
            site.layer.name: tuple(KeptForm(form.choice.form.name, form.choice.rank, form.damage) for form in site.forms)
            for site in space.sites
            if site.forms
        },
    )


def space_of(network: Network, value: KeptSpace, kinds: Sequence[FormKind]) -> Space:
    """The space that `kept` was made of; `network` is the same."""
    coupling = couple(network)
    by_name = {kind.name: kind for kind in kinds}
    widths = [Width(*entry) for entry in value.widths]
    forms = {layer: tuple(Form(Choice(by_name[form.name], form.rank), form.damage) for form in found) for layer, found in value.forms.items()}
    return Space(network, coupling, tuple(widths), sites_of(network, coupling, widths, forms))
