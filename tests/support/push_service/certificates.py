"""The certificates that the push service presents: a good one, and two that senders must refuse."""

from __future__ import annotations

import datetime
import ipaddress
from functools import cache
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"
Certificate = Literal["good", "wrong name", "not trusted"]


def names_of(address: str) -> list[x509.GeneralName]:
    """Return the names of a server at an IP address, and of this machine."""
    return [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(address))]


OURS = names_of(HOST)
# Nodes of a cluster are clients of each other.
_USES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
ELSEWHERE: list[x509.GeneralName] = [x509.DNSName("push.elsewhere.example")]


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._builder(self._name, self._key.public_key(), is_ca=True)
        self.certificate = own.sign(self._key, hashes.SHA256())

    def issue(self, names: list[x509.GeneralName]) -> bytes:
        """Return a certificate for a server of these names, and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            self._builder(subject, key.public_key(), is_ca=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM) + private

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, is_ca: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority, critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_ca,
                    key_cert_sign=is_ca,
                    crl_sign=is_ca,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )


@cache
def _made(address: str) -> tuple[bytes, dict[Certificate, bytes]]:
    """The CA to trust and the certificates of this address, made once in a process."""
    trusted, stranger = Authority("Stop Press test CA"), Authority("A stranger's CA")
    return trusted.certificate.public_bytes(Encoding.PEM), {
        "good": trusted.issue(names_of(address)),
        "wrong name": trusted.issue(ELSEWHERE),
        "not trusted": stranger.issue(names_of(address)),
    }


def make_certificates(folder: Path, address: str = HOST) -> tuple[Path, dict[Certificate, Path]]:
    """Return the file of the CA to trust, and those of the certificates with their keys."""
    ca, pems = _made(address)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca)
    files: dict[Certificate, Path] = {}
    for certificate, pem in pems.items():
        files[certificate] = folder / f"{certificate}.pem"
        files[certificate].write_bytes(pem)
    return ca_file, files
