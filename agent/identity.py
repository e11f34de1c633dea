"""The certificate that this device logs in with: the one of its enrolment, or the later one for the same key that the fleet has sent.

The later one lies in the state folder, since the agent may not write beside its configuration. It counts while it fits the key there: after a new
enrolment with another key the configuration's counts again.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from ..core.files import write_atomic
from .config import AgentConfig

log = logging.getLogger(__name__)

RENEWED_NAME = "device.pem"
CANDIDATE_NAME = "device.pem.new"


def certificate_of(config: AgentConfig) -> Path | None:
    """The file to log in with; None when this device has no certificate."""
    own = config.broker.tls_certificate
    if own is None:
        return None
    renewed = config.state / RENEWED_NAME
    return renewed if renewed.is_file() and _fits(renewed, config) else config.folder / own


def keep_certificate(config: AgentConfig, pem: str) -> Path | None:
    """Keep a later certificate; returns its file, None when it is known already or is not for this device's key."""
    renewed, candidate = config.state / RENEWED_NAME, config.state / CANDIDATE_NAME
    if config.broker.tls_key is None or (renewed.is_file() and renewed.read_bytes() == pem.encode()):
        return None
    write_atomic(candidate, pem.encode())
    if not _fits(candidate, config):
        candidate.unlink()
        log.warning("The fleet has sent a certificate that is not for this device's key: it is not used")
        return None
    candidate.unlink()
    write_atomic(renewed, pem.encode())
    return renewed


def _fits(certificate: Path, config: AgentConfig) -> bool:
    assert config.broker.tls_key is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, config.folder / config.broker.tls_key)
    except (OSError, ValueError):
        return False
    return True
