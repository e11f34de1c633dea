"""Which rails add up to what, on which board. Pure; the one place that decides it.

Rules:
- on a Jetson whose part number or processor is known, that board's rule alone applies; without a device tree the labels decide, when they are all
  there; on any other board a label proves nothing;
- a rail that is fed from another one is never added (AGX Orin: VDDQ_VDD2_1V8AO comes from VIN_SYS_5V0; Thor: VIN feeds everything);
- a rail of the rule that is missing, or there twice, means no total and a reason, never a smaller total;
- the owner's map in ``/etc/edgewright/power.toml`` goes before everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .board import Board
from .power_config import CONFIG_PATH, TotalMap
from .sensor import Rail, Scope


@dataclass(frozen=True, slots=True)
class Total:
    """`rails` are keys; together they are all of `scope`."""

    scope: Scope
    rails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything that adds up. `main` is what ``power`` calls the total: of a module, a board or the wall; None with `reason`."""

    main: Total | None
    reason: str | None
    others: tuple[Total, ...] = ()

    @property
    def widest_known(self) -> Total | None:
        """`main`, or else a part that is whole in itself (processor package, graphics card): better than nothing to compare engines by."""
        return self.main or next(iter(self.others), None)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One board: its processors and part numbers, the sums in order of preference, and further sums that are whole too."""

    name: str
    soc: str
    parts: frozenset[str]
    sums: tuple[tuple[Scope, tuple[str, ...]], ...]
    others: tuple[tuple[Scope, tuple[str, ...]], ...] = ()


# Names differ between NVIDIA's documents and device trees (5V_IN, POM_5V_IN and VDD_IN are one thing).
_INPUT = ("VDD_IN",)
_ALIASES = {"5V_IN": "VDD_IN", "POM_5V_IN": "VDD_IN"}
_WITH_CARRIER: tuple[tuple[Scope, tuple[str, ...]], ...] = (("board", ("VDD_IN", "VDD_MUX")),)
_RULES = (
    _Rule("Jetson TX1", "tegra210", frozenset({"p2180"}), (("module", _INPUT),), _WITH_CARRIER),
    _Rule("Jetson Nano", "tegra210", frozenset({"p3448"}), (("module", _INPUT),)),
    _Rule("Jetson TX2", "tegra186", frozenset({"p3310", "p3489"}), (("module", _INPUT),), _WITH_CARRIER),
    _Rule("Jetson TX2 NX", "tegra186", frozenset({"p3636"}), (("module", _INPUT),)),
    _Rule("Jetson AGX Xavier", "tegra194", frozenset({"p2888"}), (("module", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),)),
    _Rule("Jetson Xavier NX", "tegra194", frozenset({"p3668"}), (("module", _INPUT),)),
    _Rule("Jetson AGX Orin", "tegra234", frozenset({"p3701"}), (("module", ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),)),
    _Rule("Jetson Orin NX or Nano", "tegra234", frozenset({"p3767"}), (("module", _INPUT),)),
    _Rule(
        "Jetson AGX Thor",
        "tegra264",
        frozenset({"p3834"}),
        (("board", ("VIN",)), ("module", ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"))),
        (("module", ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),),
    ),
)
_MODULE_ADDRESSES = ("40", "41")


def find_totals(board: Board, rails: Sequence[Rail], owner: TotalMap | None = None) -> Totals:
    """What the rails of this machine add up to."""
    others = _self_contained(rails)
    if owner is not None:
        main, reason = _sum(owner.scope, owner.rails, rails, where=f"/{CONFIG_PATH}")
        return Totals(main, reason, others)
    rule, reason = _rule(board, rails)
    if rule is not None:
        return _by_rule(rule, rails, others)
    whole = next((total for scope in ("board", "wall") for total in others if total.scope == scope), None)
    if whole is not None:
        return Totals(whole, None, tuple(total for total in others if total is not whole))
    return Totals(None, reason, others)


def _by_rule(rule: _Rule, rails: Sequence[Rail], others: tuple[Total, ...]) -> Totals:
    reasons = []
    for scope, labels in rule.sums:
        main, reason = _sum(scope, labels, rails, where=f"a {rule.name}")
        if main is not None:
            further = (_sum(scope, labels, rails, where="")[0] for scope, labels in rule.others)
            return Totals(main, None, (*(total for total in further if total is not None and total != main), *others))
        reasons.append(str(reason))
    return Totals(None, reasons[-1], others)


def _rule(board: Board, rails: Sequence[Rail]) -> tuple[_Rule | None, str]:
    """The board's rule, or why there is none."""
    labels = {_plain(rail.label) for rail in rails}
    for rule in _RULES:
        if rule.parts & set(board.parts):
            return rule, ""
    if board.compatible:
        same_soc = [rule for rule in _RULES if rule.soc == board.soc]
        fitting = [rule for rule in same_soc if _fits(rule, labels)]
        if fitting:
            return fitting[0], ""
        if same_soc and rails:
            return None, _unknown(rails, f"this {board.soc} board")
        return None, _unknown(rails, f"the board {board.model or board.compatible[0]!r}")
    fitting = [rule for rule in _RULES if _fits(rule, labels)]
    if fitting:
        return fitting[0], ""
    # Part of a known set: its own reason names what is missing.
    nearest = max(_RULES, key=lambda rule: len(labels & set(rule.sums[-1][1])))
    if len(labels & set(nearest.sums[-1][1])) >= 2:
        return nearest, ""
    return None, _unknown(rails, "this board")


def _fits(rule: _Rule, labels: set[str]) -> bool:
    return any(labels.issuperset(wanted) for _, wanted in rule.sums)


def _unknown(rails: Sequence[Rail], what: str) -> str:
    if not rails:
        return "this machine has no usable power sensor"
    if all(rail.sensor in {"rapl", "nvml"} for rail in rails):
        return "only processors or graphics cards are measured here, not the board: connect a meter, or use energy per inference of that part"
    names = ", ".join(sorted({rail.label for rail in rails})[:8])
    return f"what the rails of {what} ({names}) add up to is not known: name them in [total] of /{CONFIG_PATH}"


def _sum(scope: Scope, labels: Sequence[str], rails: Sequence[Rail], *, where: str) -> tuple[Total | None, str | None]:
    keys = []
    for label in labels:
        found = [rail for rail in rails if _plain(rail.label) == _plain(label) and rail.quantity == "power"]
        found = found or [rail for rail in rails if _plain(rail.label) == _plain(label)]
        if len(found) > 1:
            # A carrier may name its own rail like the module's: the module's chips have fixed addresses.
            found = [rail for rail in found if rail.address.endswith(_MODULE_ADDRESSES)] or found
        if not found:
            return None, f"the rail {label} is missing, without which the total of {where} cannot be said"
        if len(found) > 1:
            return None, f"there are {len(found)} rails {label}: which one belongs to the total of {where} is not known"
        keys.append(found[0].key)
    return Total(scope, tuple(keys)), None


def _self_contained(rails: Sequence[Rail]) -> tuple[Total, ...]:
    """What is whole without any knowledge of the board: a meter, a battery, psys; then the processor's packages, and one graphics card."""
    found = [Total(rail.covers, (rail.key,)) for rail in rails if rail.covers is not None and rail.covers != "gpu"]
    packages = tuple(rail.key for rail in rails if rail.sensor == "rapl" and rail.label.startswith("package"))
    if packages:
        found.append(Total("package", packages))
    return (*found, *(Total("gpu", (rail.key,)) for rail in rails if rail.covers == "gpu"))


def _plain(label: str) -> str:
    name = label.strip().upper()
    return _ALIASES.get(name, name)
