"""The anchor and envelopes are made here from python-tuf and Ed25519 keys directly, not by the controller."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgewright.core.anchor import MAX_METADATA_BYTES
from edgewright.core.errors import EdgewrightError, Rejected, Unfit
from edgewright.core.trust import Verified, VerifyRequest, load_anchor, seal, verify_envelope
from edgewright.core.wire.messages import Command, Desired, Envelope, Signature
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

NOW_S = 1_800_000_000.0
YEAR_S = 365 * 86400.0
WHO: dict[str, Any] = {"fleet": "fleet", "device": "board-1"}
GOAL = Desired(**WHO, sequence=5, issued_s=NOW_S - 10, expires_s=NOW_S + 60, models={})
CANCEL = Command(**WHO, sequence=6, issued_s=NOW_S - 10, expires_s=NOW_S + 60, id="c", verb="cancel", deployment="d")

Signer = Callable[[bytes], tuple[str, str]]


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


@dataclass(frozen=True)
class Anchor:
    """A trust folder of a fleet with `threshold` of `online` keys."""

    folder: Path
    root: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    online: tuple[CryptoSigner, ...] = field(default_factory=lambda: (CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()))
    engines: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    threshold: int = 1
    root_expires_s: float = NOW_S + YEAR_S
    targets_expires_s: float = NOW_S + YEAR_S

    def write(self, *, root_signer: CryptoSigner | None = None, targets_signer: CryptoSigner | None = None) -> Anchor:
        root = Root(expires=at(self.root_expires_s), consistent_snapshot=False)
        for role in ("root", "snapshot", "timestamp"):
            root.add_key(self.root.public_key, role)
        root.add_key(self.targets.public_key, "targets")
        keys = {signer.public_key.keyid: signer.public_key for signer in (*self.online, self.engines)}
        roles = {
            "desired": self.role("desired", [signer.public_key.keyid for signer in self.online], self.threshold),
            "engines": self.role("engines", [self.engines.public_key.keyid], 1),
        }
        targets = Targets(expires=at(self.targets_expires_s), delegations=Delegations(keys=keys, roles=roles))
        self.save("root.json", root, root_signer or self.root)
        self.save("targets.json", targets, targets_signer or self.targets)
        return self

    def role(self, name: str, keyids: list[str], threshold: int) -> DelegatedRole:
        return DelegatedRole(name=name, keyids=keyids, threshold=threshold, terminating=True, paths=[f"{name}/*"])

    def save(self, name: str, signed: Root | Targets, signer: CryptoSigner) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        (self.folder / name).write_bytes(metadata.to_bytes())

    def request(self, envelope: Envelope | bytes, **changes: Any) -> VerifyRequest:
        data = envelope if isinstance(envelope, bytes) else msgspec.json.encode(envelope)
        fields = {"trust": str(self.folder), "envelope": data, "fleet": "fleet", "device": "board-1", "last_sequence": 0, "now_s": NOW_S}
        return VerifyRequest(**(fields | changes))

    def verify(self, envelope: Envelope | bytes, **changes: Any) -> Verified:
        return verify_envelope(self.request(envelope, **changes))


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path).write()


def signing(signer: CryptoSigner) -> Signer:
    def sign(data: bytes) -> tuple[str, str]:
        signature = signer.sign(data)
        return signature.keyid, signature.signature

    return sign


def refusal(verify: Callable[[], object]) -> EdgewrightError:
    with pytest.raises(EdgewrightError) as refused:
        verify()
    return refused.value


def test_a_goal_of_the_online_key_is_taken(anchor: Anchor) -> None:
    for signer in anchor.online:
        assert anchor.verify(seal(GOAL, signing(signer))) == Verified(desired=GOAL, signed_s=NOW_S - 10)


def test_a_command_of_the_online_key_is_taken(anchor: Anchor) -> None:
    assert anchor.verify(seal(CANCEL, signing(anchor.online[0]))) == Verified(command=CANCEL, signed_s=NOW_S - 10)


def test_the_signature_covers_the_domain_the_kind_and_the_exact_text(anchor: Anchor) -> None:
    envelope = seal(GOAL, signing(anchor.online[0]))
    signed = b"edgewright-envelope-v1\0" + b"desired" + b"\0" + envelope.signed.encode()

    assert signing(anchor.online[0])(signed) == (envelope.signatures[0].keyid, envelope.signatures[0].sig)


@pytest.mark.parametrize("who", ["root", "targets", "engines", "stranger"])
def test_no_other_key_may_sign_a_goal(anchor: Anchor, who: str) -> None:
    signer = CryptoSigner.generate_ed25519() if who == "stranger" else getattr(anchor, who)
    refused = refusal(lambda: anchor.verify(seal(GOAL, signing(signer))))

    assert (type(refused), refused.code) == (Rejected, "signature-invalid")


def test_another_key_under_the_online_keys_name_is_refused(anchor: Anchor) -> None:
    forged = seal(GOAL, signing(CryptoSigner.generate_ed25519()))
    named = (Signature(anchor.online[0].public_key.keyid, forged.signatures[0].sig),)

    assert refusal(lambda: anchor.verify(msgspec.structs.replace(forged, signatures=named))).code == "signature-invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"signed": msgspec.json.encode(msgspec.structs.replace(GOAL, sequence=99)).decode()},
        {"signatures": ()},
        {"signatures": (Signature("k", "zz"),)},
    ],
    ids=["tampered", "unsigned", "nonsense"],
)
def test_an_envelope_that_was_changed_is_refused(anchor: Anchor, change: dict[str, Any]) -> None:
    envelope = msgspec.structs.replace(seal(GOAL, signing(anchor.online[0])), **change)

    assert refusal(lambda: anchor.verify(envelope)).code == "signature-invalid"


def test_even_a_space_more_breaks_the_signature(anchor: Anchor) -> None:
    envelope = seal(GOAL, signing(anchor.online[0]))

    assert refusal(lambda: anchor.verify(msgspec.structs.replace(envelope, signed=envelope.signed + " "))).code == "signature-invalid"


def test_a_command_cannot_pass_for_a_goal_nor_a_goal_for_a_command(anchor: Anchor) -> None:
    for content, other in ((GOAL, "command"), (CANCEL, "desired")):
        envelope = msgspec.structs.replace(seal(content, signing(anchor.online[0])), kind=other)
        assert refusal(lambda envelope=envelope: anchor.verify(envelope)).code == "signature-invalid"


def test_a_goal_that_was_signed_as_a_command_is_no_command(anchor: Anchor) -> None:
    text = msgspec.json.encode(GOAL).decode()
    keyid, signature = signing(anchor.online[0])(b"edgewright-envelope-v1\0command\0" + text.encode())
    envelope = Envelope(kind="command", signed=text, signatures=(Signature(keyid, signature),))

    assert refusal(lambda: anchor.verify(envelope)).code == "message-malformed"


@pytest.mark.parametrize("change", [{"device": "board-2"}, {"fleet": "other"}])
def test_an_envelope_for_another_device_is_refused(anchor: Anchor, change: dict[str, str]) -> None:
    envelope = seal(msgspec.structs.replace(GOAL, **change), signing(anchor.online[0]))
    refused = refusal(lambda: anchor.verify(envelope))

    assert (type(refused), refused.code) == (Rejected, "envelope-wrong-device")


@pytest.mark.parametrize(("now_s", "is_good"), [(GOAL.expires_s, True), (GOAL.expires_s + 1, False)])
def test_an_envelope_is_good_until_it_expires(anchor: Anchor, now_s: float, is_good: bool) -> None:
    envelope = seal(GOAL, signing(anchor.online[0]))
    if is_good:
        assert anchor.verify(envelope, now_s=now_s).desired == GOAL
    else:
        assert refusal(lambda: anchor.verify(envelope, now_s=now_s)).code == "envelope-expired"


def test_a_device_whose_clock_stands_at_1970_takes_a_goal_and_learns_the_time(anchor: Anchor) -> None:
    verified = anchor.verify(seal(GOAL, signing(anchor.online[0])), now_s=0.0)

    assert verified.signed_s == GOAL.issued_s


def test_a_signed_time_after_the_anchors_end_is_no_time(anchor: Anchor) -> None:
    late = msgspec.structs.replace(GOAL, issued_s=anchor.targets_expires_s + 1, expires_s=anchor.targets_expires_s + 60)

    assert refusal(lambda: anchor.verify(seal(late, signing(anchor.online[0])))).code == "envelope-from-future"


@pytest.mark.parametrize(("last", "is_good"), [(4, True), (5, False), (6, False)])
def test_an_envelope_is_taken_once_and_never_after_a_newer_one(anchor: Anchor, last: int, is_good: bool) -> None:
    envelope = seal(GOAL, signing(anchor.online[0]))
    if is_good:
        assert anchor.verify(envelope, last_sequence=last).desired == GOAL
    else:
        assert refusal(lambda: anchor.verify(envelope, last_sequence=last)).code == "envelope-replayed"


def test_a_threshold_needs_that_many_different_keys(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path, threshold=2).write()
    one, two = (seal(GOAL, signing(signer)) for signer in anchor.online)
    twice = msgspec.structs.replace(one, signatures=one.signatures * 2)
    both = msgspec.structs.replace(one, signatures=one.signatures + two.signatures)

    assert refusal(lambda: anchor.verify(one)).code == "signature-invalid"
    assert refusal(lambda: anchor.verify(twice)).code == "signature-invalid"
    assert anchor.verify(both).desired == GOAL


def test_only_the_first_signatures_are_looked_at(anchor: Anchor) -> None:
    good = seal(GOAL, signing(anchor.online[0])).signatures
    noise = tuple(Signature(f"k{number}", "00") for number in range(16))
    envelope = seal(GOAL, signing(anchor.online[0]))

    assert anchor.verify(msgspec.structs.replace(envelope, signatures=noise[:15] + good)).desired == GOAL
    assert refusal(lambda: anchor.verify(msgspec.structs.replace(envelope, signatures=noise + good))).code == "signature-invalid"


def test_what_is_signed_must_still_be_allowed(anchor: Anchor) -> None:
    text = json.dumps(json.loads(msgspec.json.encode(GOAL)) | {"v": 2})
    keyid, signature = signing(anchor.online[0])(b"edgewright-envelope-v1\0desired\0" + text.encode())
    envelope = Envelope(kind="desired", signed=text, signatures=(Signature(keyid, signature),))

    assert refusal(lambda: anchor.verify(envelope)).code == "message-version"


@pytest.mark.parametrize("field_name", ["root_expires_s", "targets_expires_s"])
def test_an_anchor_that_has_expired_trusts_nobody(tmp_path: Path, field_name: str) -> None:
    anchor = replace(Anchor(tmp_path), **{field_name: NOW_S - 1}).write()
    early = msgspec.structs.replace(GOAL, issued_s=NOW_S - 100)
    refused = refusal(lambda: anchor.verify(seal(early, signing(anchor.online[0]))))

    assert (type(refused), refused.code) == (Unfit, "trust-expired")


@pytest.mark.parametrize("part", ["root_signer", "targets_signer"])
def test_an_anchor_of_other_keys_is_refused(tmp_path: Path, part: str) -> None:
    anchor = Anchor(tmp_path)
    anchor.write(**{part: CryptoSigner.generate_ed25519()})
    refused = refusal(lambda: anchor.verify(seal(GOAL, signing(anchor.online[0]))))

    assert (type(refused), refused.code) == (Unfit, "trust-invalid")


@pytest.mark.parametrize("name", ["root.json", "targets.json"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "trust-unreadable"),
        (b"", "trust-invalid"),
        (b"{}", "trust-invalid"),
        (b"\xff" * 100, "trust-invalid"),
        (b"[" * 100_000, "trust-invalid"),
        (b" " * (MAX_METADATA_BYTES + 1), "trust-invalid"),
    ],
    ids=["absent", "empty", "nothing", "bytes", "deep", "large"],
)
def test_an_anchor_that_cannot_be_read_is_this_devices_fault(anchor: Anchor, name: str, content: bytes | None, code: str) -> None:
    (anchor.folder / name).unlink()
    if content is not None:
        (anchor.folder / name).write_bytes(content)
    refused = refusal(lambda: anchor.verify(seal(GOAL, signing(anchor.online[0]))))

    assert (type(refused), refused.code) == (Unfit, code)
    assert "enroll" in refused.next_step.lower()


def test_metadata_of_another_role_is_refused(anchor: Anchor) -> None:
    (anchor.folder / "targets.json").write_bytes((anchor.folder / "root.json").read_bytes())

    assert refusal(lambda: load_anchor(anchor.folder, NOW_S)).code == "trust-invalid"


def test_an_anchor_that_delegates_to_nobody_is_refused(anchor: Anchor) -> None:
    anchor.save("targets.json", Targets(expires=at(NOW_S + YEAR_S)), anchor.targets)

    assert refusal(lambda: anchor.verify(seal(GOAL, signing(anchor.online[0])))).code == "trust-invalid"


@pytest.mark.parametrize("now_s", [-1e12, 1e300])
def test_no_clock_makes_the_verification_fail_but_by_a_refusal(anchor: Anchor, now_s: float) -> None:
    try:
        assert anchor.verify(seal(GOAL, signing(anchor.online[0])), now_s=now_s).desired == GOAL
    except Unfit as unfit:
        assert (now_s, unfit.code) == (1e300, "trust-expired")  # noqa: PT017


@pytest.fixture(scope="module")
def lasting_anchor(tmp_path_factory: pytest.TempPathFactory) -> Anchor:
    return Anchor(tmp_path_factory.mktemp("trust")).write()


@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(lasting_anchor: Anchor, data: bytes) -> None:
    with pytest.raises(Rejected):
        lasting_anchor.verify(data)


@given(keyid=st.text(max_size=70), signature=st.text(max_size=140), kind=st.sampled_from(["desired", "command"]), text=st.text(max_size=100))
def test_no_signature_raises_anything_but_a_refusal(lasting_anchor: Anchor, keyid: str, signature: str, kind: Any, text: str) -> None:
    for name in (keyid, lasting_anchor.online[0].public_key.keyid):
        envelope = Envelope(kind=kind, signed=text, signatures=(Signature(name, signature),))
        assert refusal(lambda envelope=envelope: lasting_anchor.verify(envelope)).code == "signature-invalid"
