from __future__ import annotations

import pytest
from edgewright.core.artifact import Artifact, describe_bytes
from edgewright.core.errors import Rejected
from edgewright.core.package import check_package, version_of
from edgewright.core.wire.messages import AGENT_MODEL, Desired, Order, check_desired

WHEEL = "edgewright-0.2.0-py3-none-any.whl"


def package(*names, **fields):
    files = {name: describe_bytes(name.encode())[0] for name in names}
    return Order(**({"deployment": "d", "version": "0.2.0", "model": Artifact(files), "model_file": names[0], "kind": "agent"} | fields))


def code_of(order):
    with pytest.raises(Rejected) as refused:
        check_package(order)
    return refused.value.code


def test_a_package_is_wheels_of_which_one_is_edgewrights():
    check_package(package(WHEEL, "msgspec-0.20.0-cp311-cp311-linux_aarch64.whl"))


@pytest.mark.parametrize(
    "order",
    [
        package(WHEEL, "setup.py"),
        package("edgewright-0.2.0.whl"),
        package("other-0.2.0-py3-none-any.whl"),
        package(WHEEL, version="0.3.0"),
        package(WHEEL, calibration=Artifact({"x.npz": describe_bytes(b"x")[0]})),
    ],
)
def test_anything_else_is_refused(order):
    assert code_of(order) == "package-malformed"


def test_the_version_is_in_the_name_of_the_wheel():
    assert [version_of(name) for name in (WHEEL, "edgewright-0.2.0-1-py3-none-any.whl", "edgewright-0.2.0.tar.gz")] == ["0.2.0", "0.2.0", None]


@pytest.mark.parametrize(("name", "kind"), [(AGENT_MODEL, "model"), ("surface", "agent")])
def test_the_agents_name_is_its_own(name, kind):
    desired = Desired(fleet="f", device="d", sequence=1, issued_s=0, expires_s=1, models={name: package(WHEEL, kind=kind)})
    with pytest.raises(Rejected) as refused:
        check_desired(desired)

    assert refused.value.code == "message-malformed"
