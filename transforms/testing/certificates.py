"""Certificates for tests of TLS: an authority, what it signs, and PEM files of both. Needs ``cryptography``."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """PEM files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """An authority of its own, whose files go into ``folder``. What it signs is valid from an hour ago for a day."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), [])
        self.certificate = folder / f"{name}.pem"
        """What is to be trusted."""
        self.certificate.write_bytes(certificate)

    def sign(self, name: str, hosts: Sequence[str] = ()) -> Signed:
        """Sign a certificate for ``hosts``, host names or addresses; ``name`` is its common name, a role to Pulsar."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = Signed(self._folder / f"{name}.cert.pem", self._folder / f"{name}.key.pem")
        signed.certificate.write_bytes(
            self._sign(_name(name), key, x509.BasicConstraints(ca=False, path_length=None), hosts)
        )
        signed.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        signed.key.chmod(0o600)
        return signed

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, limits: x509.BasicConstraints, hosts: Sequence[str]
    ) -> bytes:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LIFE / 24)
            .not_valid_after(now + _LIFE)
            .add_extension(limits, critical=True)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
