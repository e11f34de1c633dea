"""The fleet's certificate authority: who may connect. It issues one certificate per device, the broker's, and the controller's own.

Rules:
- every fleet has an authority of its own, so that a device of another fleet, whatever its name, is a stranger;
- a device's name is its certificate's common name, which is its user name at the broker;
- what is revoked stands in a signed list that the broker reads; a device that is enrolled again loses the certificate that it had;
- it says who may connect, and nothing about what may run: that is `core.trust`'s, whose offline keys are not here.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import Unfit
from ..core.files import write_atomic
from .keys import private_file
from .paths import FleetPaths

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

AUTHORITY_YEARS = 20
DEVICE_DAYS = 365
SERVER_DAYS = 90
RENEW_DAYS = 30
LIST_DAYS = 30
CLOCK_DAYS = 2  # boards whose clock is a little behind must not refuse a fresh certificate
CA_KEY, CA_NAME = "ca.key", "fleet-ca.pem"
REVOKED_NAME = "revoked"
CRL_NAME, SERVER_CERTIFICATE, SERVER_KEY = "revoked.crl", "server.pem", "server.key"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate with its private key, in PEM; `serial` in hex."""

    certificate: bytes
    key: bytes
    serial: str
    expires_s: float


def make_authority(paths: FleetPaths, fleet: str, now: dt.datetime) -> None:
    """Make the authority, unless there is one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    with _locked(paths):
        if (paths.trust / CA_NAME).exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"edgewright fleet {fleet}", fleet)
        builder = _builder(name, key.public_key(), now, AUTHORITY_YEARS * 365)
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        private_file(paths.keys / CA_KEY, _key_pem(key).decode())
        write_atomic(paths.trust / CA_NAME, _signed(builder, name, key))


def issue_client(paths: FleetPaths, fleet: str, name: str, now: dt.datetime, days: int = DEVICE_DAYS) -> Issued:
    """A certificate to connect with as `name`: a device's, or the controller's.

    Raises:
        Unfit: ``authority-unreadable``.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    return _issue(paths, fleet, name, now, days, ExtendedKeyUsageOID.CLIENT_AUTH, x509.SubjectAlternativeName([x509.DNSName(f"{name}.{fleet}")]))


def reissue(paths: FleetPaths, fleet: str, name: str, before: bytes, now: dt.datetime, days: int = DEVICE_DAYS) -> Issued:
    """A later certificate for the key of the certificate `before`; nobody needs that key for it, and `Issued.key` is empty.

    Raises:
        Unfit: ``authority-unreadable``.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = x509.load_pem_x509_certificate(before).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    names = x509.SubjectAlternativeName([x509.DNSName(f"{name}.{fleet}")])
    return _certified(paths, fleet, name, now, days, ExtendedKeyUsageOID.CLIENT_AUTH, names, key, b"")


def is_revoked(paths: FleetPaths, serial: str) -> bool:
    return serial in _revoked(paths)


def issue_server(paths: FleetPaths, fleet: str, hosts: Sequence[str], now: dt.datetime, folder: Path | None = None) -> None:
    """The certificate of the broker, or of what keeps its own in `folder`, for `hosts`, renewed before it expires; nothing is done while it is good.

    Raises:
        Unfit: ``authority-unreadable``.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    place = folder or paths.broker
    if _is_good(place, names, now):
        return
    issued = _issue(paths, fleet, "broker" if folder is None else folder.name, now, SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, names)
    private_file(place / SERVER_KEY, issued.key.decode())
    write_atomic(place / SERVER_CERTIFICATE, issued.certificate)


def revoke(paths: FleetPaths, serial: str, now: dt.datetime) -> None:
    """The certificate `serial` (hex) is good no more; the broker's list says so at once."""
    with _locked(paths):
        known = _revoked(paths)
        if serial not in known:
            known[serial] = int(now.timestamp())
            lines = "".join(f"{number} {since_s}\n" for number, since_s in sorted(known.items()))
            write_atomic(paths.trust / REVOKED_NAME, lines.encode())
    write_revocations(paths, now)


def write_revocations(paths: FleetPaths, now: dt.datetime) -> None:
    """Sign the broker's list anew: it is good for `LIST_DAYS` only.

    Raises:
        Unfit: ``authority-unreadable``.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    authority, key = _authority(paths)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
    builder = builder.last_update(now - dt.timedelta(days=CLOCK_DAYS)).next_update(now + dt.timedelta(days=LIST_DAYS))
    for serial, since_s in sorted(_revoked(paths).items()):
        since = dt.datetime.fromtimestamp(since_s, dt.timezone.utc)
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(since).build())
    data = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_atomic(paths.broker / CRL_NAME, data)


def _issue(
    paths: FleetPaths, fleet: str, name: str, now: dt.datetime, days: int, purpose: x509.ObjectIdentifier, names: x509.SubjectAlternativeName
) -> Issued:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return _certified(paths, fleet, name, now, days, purpose, names, key.public_key(), _key_pem(key))


def _certified(
    paths: FleetPaths,
    fleet: str,
    name: str,
    now: dt.datetime,
    days: int,
    purpose: x509.ObjectIdentifier,
    names: x509.SubjectAlternativeName,
    key: EllipticCurvePublicKey,
    key_pem: bytes,
) -> Issued:
    from cryptography import x509

    authority, authority_key = _authority(paths)
    builder = _builder(_name(name, fleet), key, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False).add_extension(names, critical=False)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = builder.add_extension(issuer_key, critical=False)
    certificate = _signed(builder, authority.subject, authority_key)
    parsed = x509.load_pem_x509_certificate(certificate)
    return Issued(certificate, key_pem, f"{parsed.serial_number:x}", (now + dt.timedelta(days=days)).timestamp())


def _name(name: str, fleet: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # A common name of more than 64 characters would be refused: names of fleets have up to 64 by themselves.
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, fleet), x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _builder(subject: x509.Name, key: EllipticCurvePublicKey, now: dt.datetime, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    builder = x509.CertificateBuilder().subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(days=CLOCK_DAYS)).not_valid_after(now + dt.timedelta(days=days))


def _signed(builder: x509.CertificateBuilder, issuer: x509.Name, key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    return builder.issuer_name(issuer).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _authority(paths: FleetPaths) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate((paths.trust / CA_NAME).read_bytes())
        key = load_pem_private_key((paths.keys / CA_KEY).read_bytes(), None)
    except (OSError, ValueError) as error:
        message = f"the fleet's certificate authority cannot be read: {error}"
        raise Unfit("authority-unreadable", message, f"Restore {paths.keys / CA_KEY} and {paths.trust / CA_NAME}") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise Unfit("authority-unreadable", f"{paths.keys / CA_KEY} holds another kind of key", "Restore it")
    return certificate, key


def _revoked(paths: FleetPaths) -> dict[str, int]:
    try:
        lines = (paths.trust / REVOKED_NAME).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    return {serial: int(since) for serial, _, since in (line.partition(" ") for line in lines) if serial}


def _is_good(place: Path, names: x509.SubjectAlternativeName, now: dt.datetime) -> bool:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((place / SERVER_CERTIFICATE).read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    expires = certificate.not_valid_after_utc
    return found == names and expires > now + dt.timedelta(days=RENEW_DAYS) and (place / SERVER_KEY).exists()


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextmanager
def _locked(paths: FleetPaths) -> Iterator[None]:
    lock = os.open(paths.keys / "authority.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
