from __future__ import annotations

import pytest
from edgewright.controller.audit import AuditLog
from edgewright.controller.tokens import ROLES, Tokens
from edgewright.core.errors import Rejected

NOW_S = 1_800_000_000.0


@pytest.fixture
def tokens(database):
    return Tokens(database)


def test_a_token_tells_who_holds_it(tokens):
    holder = tokens.holder(tokens.create("ci", "operator", "user:x", NOW_S), NOW_S)

    assert (holder.name, holder.role, holder.actor) == ("ci", "operator", "token:ci")


def test_a_role_may_what_it_says_and_what_those_below_it_may(tokens):
    for index, role in enumerate(ROLES):
        holder = tokens.holder(tokens.create("x", role, "user:x", NOW_S), NOW_S)

        assert [holder.may(needed) for needed in ROLES] == [position <= index for position in range(len(ROLES))]


def test_the_secret_is_nowhere_in_the_database_or_the_audit_log(tokens, database, paths):
    token = tokens.create("ci", "operator", "user:x", NOW_S)
    secret = token.split("_", 2)[2]
    files = b"".join(path.read_bytes() for path in paths.root.glob("fleet.sqlite*"))

    assert len(secret) == 43
    assert secret.encode() not in files
    assert all(secret not in entry.detail for entry in AuditLog(database).entries())


def test_a_revoked_token_is_not_good_any_more(tokens):
    token = tokens.create("ci", "viewer", "user:x", NOW_S)
    tokens.revoke(token.split("_")[1], "user:x", NOW_S + 1)

    assert tokens.holder(token, NOW_S + 2) is None


def test_a_token_expires(tokens):
    token = tokens.create("ci", "viewer", "user:x", NOW_S, life_s=60.0)

    assert tokens.holder(token, NOW_S + 59) is not None
    assert tokens.holder(token, NOW_S + 60) is None


def test_anything_else_is_not_good(tokens):
    token = tokens.create("ci", "admin", "user:x", NOW_S)
    other = tokens.create("other", "viewer", "user:x", NOW_S)
    swapped = "_".join([*token.split("_")[:2], *other.split("_", 2)[2:]])
    wrong = [
        "",
        "ewt_",
        token[:-1],
        token + "x",
        token.upper(),
        f" {token}",
        f"{token}\n",
        swapped,
        token.replace("ewt", "ewx"),
        "ewt_" + "0" * 12 + "_" + "A" * 43,
    ]

    assert [tokens.holder(text, NOW_S) for text in wrong] == [None] * len(wrong)


@pytest.mark.parametrize(("name", "role"), [("", "viewer"), ("a\nb", "viewer"), ("x" * 65, "viewer"), ("ci", "root")])
def test_a_token_without_a_proper_name_or_role_is_refused(tokens, name, role):
    with pytest.raises(Rejected) as caught:
        tokens.create(name, role, "user:x", NOW_S)

    assert caught.value.code == "token-malformed"


def test_revoking_what_is_not_there_is_refused(tokens):
    with pytest.raises(Rejected) as caught:
        tokens.revoke("000000000000", "user:x", NOW_S)

    assert caught.value.code == "token-unknown"
