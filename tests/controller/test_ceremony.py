"""The offline keys' work, as devices see it: every goal is verified by the device's own code against the anchor that it was enrolled with."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import msgspec
import pytest
from edgewright.controller import ceremony
from edgewright.controller.keys import Offline, copy_anchor, crypto_signers, init_keys, key_path, load_signers
from edgewright.controller.paths import FleetPaths
from edgewright.controller.signing import Signing
from edgewright.core.anchor import MAX_STEPS, Policy, follow, open_anchor
from edgewright.core.approval import DOMAIN, approve, digest_of_model
from edgewright.core.artifact import Artifact, describe_bytes
from edgewright.core.errors import EdgewrightError, Rejected, Unfit
from edgewright.core.trust import VerifyRequest, seal, verify_envelope
from edgewright.core.wire.messages import AGENT_MODEL, Approval, Approved, Desired, Envelope, Order, Signature, decode, encode

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.timezone.utc)
NOW_S = NOW.timestamp()
HOUR_S = 3600.0


def order(content: bytes = b"model", approval: Approval | None = None) -> Order:
    blob, _ = describe_bytes(content)
    return Order(deployment="d-1", version="1", model=Artifact({"model.onnx": blob}), model_file="model.onnx", approval=approval)


class Fleet:
    """A controller with its keys, and one device that was enrolled at the beginning."""

    def __init__(self, folder: Path, offline: Offline = Offline(approvals=True)) -> None:  # noqa: B008 - a frozen value
        self.paths = FleetPaths(folder / "state")
        init_keys(self.paths, "plant", NOW, offline)
        self.device = folder / "device"
        copy_anchor(self.paths, self.device / "trust")
        self.sequence = 0

    @property
    def keys(self) -> Path:
        return self.paths.keys

    def approval(self, content: bytes = b"model", model: str = "m", fleet: str = "plant", release: int = 1_800_000_000) -> Approval:
        made = order(content)
        approved = Approved(fleet=fleet, model=model, digest=digest_of_model(made.model, made.model_file), release=release)
        return approve(approved, load_signers(self.keys, "targets"))

    def goal(self, *orders: Order, signing: Signing | None = None, metadata: tuple[str, ...] | None = None) -> bytes:
        self.sequence += 1
        desired = Desired(
            fleet="plant",
            device="board-1",
            sequence=self.sequence,
            issued_s=NOW_S,
            expires_s=NOW_S + HOUR_S,
            models=dict(zip("mn", orders, strict=False)),
        )
        signing = signing or Signing(self.paths)
        return encode(seal(desired, signing.sign, signing.metadata if metadata is None else metadata))

    def hears(self, envelope: bytes, now_s: float = NOW_S) -> Desired:
        request = VerifyRequest(
            trust=str(self.device / "trust"),
            envelope=envelope,
            fleet="plant",
            device="board-1",
            last_sequence=0,
            now_s=now_s,
            followed=str(self.device / "anchor.json"),
        )
        found = verify_envelope(request).desired
        assert found is not None
        return found


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def refusal(call) -> EdgewrightError:
    with pytest.raises(EdgewrightError) as caught:
        call()
    return caught.value


# --- approvals ---


def test_a_model_that_the_offline_keys_approved_is_taken(fleet):
    goal = order(approval=fleet.approval())

    assert fleet.hears(fleet.goal(goal)).models == {"m": goal}


def test_a_stolen_controller_cannot_send_a_model_of_its_own(fleet):
    assert refusal(lambda: fleet.hears(fleet.goal(order()))).code == "approval-missing"


@pytest.mark.parametrize(
    "made",
    [
        lambda fleet: order(b"another", fleet.approval(b"model")),
        lambda fleet: order(approval=fleet.approval(model="other")),
        lambda fleet: order(approval=fleet.approval(fleet="other")),
        lambda fleet: order(approval=msgspec.structs.replace(fleet.approval(), signatures=())),
        lambda fleet: order(approval=msgspec.structs.replace(fleet.approval(), signed=fleet.approval().signed.replace("1800000000", "1900000000"))),
        lambda fleet: order(approval=approve(Approved(fleet="plant", model="m", digest="0" * 64, release=1), load_signers(fleet.keys, "targets"))),
        lambda fleet: order(
            approval=approve(
                msgspec.json.decode(fleet.approval().signed, type=Approved), [*load_signers(fleet.keys, "desired"), *load_signers(fleet.keys, "root")]
            )
        ),
    ],
)
def test_an_approval_of_something_else_or_by_somebody_else_is_refused(fleet, made):
    assert refusal(lambda: fleet.hears(fleet.goal(made(fleet)))).code == "approval-invalid"


def test_what_is_no_approval_is_refused(fleet):
    junk = Approval(signed="{}", signatures=approve_text(fleet, "{}"))

    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=junk)))).code == "approval-invalid"


def approve_text(fleet, text):
    return tuple(Signature(*sign(DOMAIN + text.encode())) for sign in load_signers(fleet.keys, "targets"))


def test_one_model_without_an_approval_refuses_the_whole_goal(fleet):
    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=fleet.approval()), order()))).code == "approval-missing"


def test_another_card_or_file_beside_the_model_needs_another_approval():
    model, card = describe_bytes(b"model")[0], describe_bytes(b"card")[0]
    digests = {
        digest_of_model(Artifact({"model.onnx": model}), "model.onnx"),
        digest_of_model(Artifact({"model.onnx": model, "model.toml": card}), "model.onnx"),
        digest_of_model(Artifact({"model.onnx": card, "model.toml": model}), "model.onnx"),
        digest_of_model(Artifact({"model.onnx": model, "model.toml": card}), "model.toml"),
    }

    assert len(digests) == 4
    assert digest_of_model(Artifact({"b": card, "a": model}), "a") == digest_of_model(Artifact({"a": model, "b": card}), "a")


def test_a_threshold_of_holders_must_approve(tmp_path):
    fleet = Fleet(tmp_path, Offline(holders=3, threshold=2, approvals=True))
    folders = [tmp_path / f"holder-{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        shutil.copy(key_path(fleet.keys, "targets", number), folder)
    made = order()
    one = ceremony.approve_model("plant", "m", made.model, made.model_file, folders[0], NOW)
    twice = ceremony.approve_model("plant", "m", made.model, made.model_file, folders[0], NOW, one)
    both = ceremony.approve_model("plant", "m", made.model, made.model_file, folders[1], NOW, one)

    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=one)))).code == "approval-invalid"
    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=twice)))).code == "approval-invalid"
    assert fleet.hears(fleet.goal(order(approval=both)))


def test_a_withdrawn_release_is_refused_and_cannot_come_back(fleet):
    old, new = fleet.approval(release=100), fleet.approval(release=200)
    stale = fleet.goal(order(approval=old))
    fleet.hears(fleet.goal(order(approval=old)))
    ceremony.change_policy(fleet.paths, fleet.keys, lambda policy: msgspec.structs.replace(policy, floors={"m": 150}), NOW)

    assert fleet.hears(fleet.goal(order(approval=new)))
    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=old)))).code == "approval-withdrawn"
    assert refusal(lambda: fleet.hears(stale)).code == "approval-withdrawn"  # without the newer metadata, which the device has kept


def test_a_stolen_controller_cannot_switch_approvals_off(fleet, tmp_path):
    """It has the online keys only: the policy that it writes is signed by none that count."""
    thief = FleetPaths(tmp_path / "thief")
    shutil.copytree(fleet.paths.root, thief.root)
    for role in ("root", "targets"):
        key_path(thief.keys, role).write_bytes(key_path(fleet.keys, "desired").read_bytes())
    with pytest.raises(Unfit) as caught:
        ceremony.change_policy(thief, thief.keys, lambda _: Policy(), NOW)
    assert caught.value.code == "keys-missing"

    metadata = open_anchor(fleet.paths.trust).targets
    metadata.signed.version += 1
    metadata.signed.unrecognized_fields.clear()
    metadata.signatures.clear()
    metadata.sign(crypto_signers(fleet.keys, "desired")[0])
    forged = (metadata.to_bytes().decode(),)
    assert refusal(lambda: fleet.hears(fleet.goal(order(), metadata=forged))).code == "trust-update-invalid"
    assert refusal(lambda: fleet.hears(fleet.goal(order()))).code == "approval-missing"


def test_a_fleet_may_do_without_approvals(tmp_path):
    fleet = Fleet(tmp_path, Offline(approvals=False))

    assert fleet.hears(fleet.goal(order()))


# --- rotation ---


@pytest.mark.parametrize("role", ["root", "targets", "desired"])
def test_a_device_follows_a_rotation_and_the_old_key_counts_no_more(fleet, role):
    before, old = Signing(fleet.paths), fleet.approval()
    ceremony.rotate(fleet.paths, fleet.keys, role, NOW)
    assert before.has_changed()

    assert fleet.hears(fleet.goal(order(approval=fleet.approval())))
    if role == "targets":
        assert refusal(lambda: fleet.hears(fleet.goal(order(approval=old)))).code == "approval-invalid"
    if role == "desired":
        stolen = next(fleet.keys.glob("desired.pem.retired-*"))
        shutil.copy(stolen, key_path(fleet.keys, "desired"))
        assert refusal(lambda: fleet.hears(fleet.goal(order(approval=fleet.approval()), metadata=()))).code == "signature-invalid"


def test_a_device_follows_many_rotations_at_once(fleet):
    for role in ("root", "targets", "desired", "root", "desired", "targets", "root"):
        ceremony.rotate(fleet.paths, fleet.keys, role, NOW)

    assert fleet.hears(fleet.goal(order(approval=fleet.approval())))


def test_a_rotation_that_was_followed_is_kept_and_older_metadata_does_not_bring_the_old_key_back(fleet):
    older = (fleet.paths.trust / "targets.json").read_text()
    old_keys = fleet.device / "old"
    shutil.copytree(fleet.keys, old_keys)
    ceremony.rotate(fleet.paths, fleet.keys, "desired", NOW)
    fleet.hears(fleet.goal(order(approval=fleet.approval())))
    shutil.copy(old_keys / "desired.pem", fleet.keys / "desired.pem")

    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=fleet.approval()), metadata=(older,)))).code == "signature-invalid"


def test_a_root_that_skips_a_version_or_is_not_signed_by_the_one_before_is_refused(fleet, tmp_path):
    other = Fleet(tmp_path / "other")
    ceremony.rotate(other.paths, other.keys, "root", NOW)
    foreign = (other.paths.trust / "2.root.json").read_text()
    ceremony.rotate(fleet.paths, fleet.keys, "root", NOW)
    ceremony.rotate(fleet.paths, fleet.keys, "root", NOW)
    third = (fleet.paths.trust / "3.root.json").read_text()
    pinned = open_anchor(fleet.device / "trust")

    for texts in ((foreign,), (third,), ("{}",), ("x" * 600_000,), ("{}",) * (MAX_STEPS + 1)):
        assert refusal(lambda texts=texts: follow(pinned, texts)).code == "trust-update-invalid"


def test_an_anchor_that_was_spoiled_on_the_device_is_followed_anew(fleet):
    ceremony.rotate(fleet.paths, fleet.keys, "desired", NOW)
    fleet.hears(fleet.goal(order(approval=fleet.approval())))
    (fleet.device / "anchor.json").write_bytes(b"\x00half of it")

    assert fleet.hears(fleet.goal(order(approval=fleet.approval())))


def test_a_controller_that_holds_everything_newer_back_is_found_out_when_the_anchor_expires(fleet):
    five_years_s = NOW_S + 5 * 365 * 86400 + 1

    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=fleet.approval())), now_s=five_years_s)).code == "trust-expired"
    ceremony.renew(fleet.paths, fleet.keys, NOW + dt.timedelta(days=1000))
    assert refusal(lambda: fleet.hears(fleet.goal(order(approval=fleet.approval())), now_s=five_years_s)).code == "envelope-expired"


def test_a_rotation_without_enough_offline_keys_changes_nothing(fleet, tmp_path):
    before = (fleet.paths.trust / "root.json").read_bytes(), (fleet.paths.trust / "targets.json").read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()

    assert refusal(lambda: ceremony.rotate(fleet.paths, empty, "desired", NOW)).code == "keys-missing"
    assert before == ((fleet.paths.trust / "root.json").read_bytes(), (fleet.paths.trust / "targets.json").read_bytes())
    assert refusal(lambda: ceremony.rotate(fleet.paths, fleet.keys, "timestamp", NOW)).code == "role-unknown"


def test_approving_other_files_than_the_first_holder_is_refused(fleet):
    made = order(b"another")
    with pytest.raises(Rejected) as caught:
        ceremony.approve_model("plant", "m", made.model, made.model_file, fleet.keys, NOW, fleet.approval(b"model"))

    assert caught.value.code == "approval-invalid"


@pytest.mark.parametrize(("holders", "threshold"), [(0, 0), (1, 2), (2, 0), (10, 1)])
def test_a_threshold_that_cannot_be_met_is_refused(tmp_path, holders, threshold):
    with pytest.raises(Rejected) as caught:
        init_keys(FleetPaths(tmp_path / "f"), "plant", NOW, Offline(holders, threshold))

    assert caught.value.code == "threshold-wrong"


def test_every_private_key_is_closed_to_others_also_after_rotations(fleet):
    for role in ("root", "targets", "desired", "engines"):
        ceremony.rotate(fleet.paths, fleet.keys, role, NOW)

    assert {path.stat().st_mode & 0o777 for path in fleet.keys.iterdir()} == {0o600}
    assert len(list(fleet.keys.iterdir())) == 8


def test_an_envelope_says_the_same_with_and_without_newer_metadata(fleet):
    plain = decode(fleet.goal(order(approval=fleet.approval())), Envelope)

    assert plain.metadata == ()
    assert b"PRIVATE" not in encode(plain)


@pytest.mark.parametrize("approvals", [True, False])
def test_a_version_of_the_agent_needs_an_approval_whatever_the_policy_says(tmp_path: Path, approvals: bool) -> None:
    fleet = Fleet(tmp_path, Offline(approvals=approvals))
    name = "edgewright-0.2.0-py3-none-any.whl"
    package = Order(deployment="d", version="0.2.0", model=Artifact({name: describe_bytes(b"wheel")[0]}), model_file=name, kind="agent")
    approved = Approved(fleet="plant", model=AGENT_MODEL, digest=digest_of_model(package.model, name), release=1_800_000_000)
    approval = approve(approved, load_signers(fleet.keys, "targets"))

    def verified(order: Order) -> None:
        fleet.sequence += 1
        goal = Desired(
            fleet="plant", device="board-1", sequence=fleet.sequence, issued_s=NOW_S, expires_s=NOW_S + HOUR_S, models={AGENT_MODEL: order}
        )
        fleet.hears(encode(seal(goal, Signing(fleet.paths).sign)))

    with pytest.raises(Rejected) as refused:
        verified(package)
    assert refused.value.code == "approval-missing"
    verified(msgspec.structs.replace(package, approval=approval))
