"""What each layer became in a plan, and why: in words and numbers for a person."""

from __future__ import annotations

from ...core.search import LayerChoice
from .plan import Plan
from .prices import Prices, state_in
from .space import Space, State


def layers_of(prices: Prices, plan: Plan) -> tuple[LayerChoice, ...]:
    """What every layer that `plan` changes became."""
    space, found = prices.space, []
    for site in space.sites:
        state = state_in(space, site, plan)
        whole = State((0,) * len(site.widths), None, is_float=False)
        if state == whole:
            continue
        found.append(
            LayerChoice(
                layer=site.layer.name,
                became=_words(space, site.layer.name, plan),
                ms_before=round(prices.price(site, whole).ms, 5),
                ms_after=round(prices.price(site, state).ms, 5),
                damage=_damage(space, site.layer.name, plan),
            )
        )
    return tuple(found)


def _words(space: Space, name: str, plan: Plan) -> str:
    site = next(site for site in space.sites if site.layer.name == name)
    state = state_in(space, site, plan)
    if state.form is not None:
        return f"{state.form.choice.form.name} {'×'.join(map(str, state.form.choice.rank))}"
    geometry, made = site.layer.geometry, space.chain(site, state)[0]
    words = f"{geometry.channels_in} → {geometry.channels_out} channels became {made.channels_in} → {made.channels_out}"
    return f"{words}, in float" if state.is_float else words if made != geometry else "float"


def _damage(space: Space, name: str, plan: Plan) -> float:
    """Of the choice that this layer's own: its form, or the channels that it makes."""
    forms = sum(form.damage for site in space.sites if site.layer.name == name for form in site.forms if plan.forms.get(name) == form.choice)
    made = sum(width.damages[plan.levels.get(width.makers, 0)] for width in space.widths if width.makers[0] == name)
    return round(forms + made, 6)
