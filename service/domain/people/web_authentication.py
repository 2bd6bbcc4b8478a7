"""The two ceremonies of Web Authentication, as py_webauthn knows them (W3C, WebAuthn Level 3).

Whatever is wrong with an answer of a browser raises an exception, of whatever kind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import webauthn
from webauthn.helpers import (
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from service.model.keys import b64url, from_b64url

# A passkey is enough to sign in, so that its device has to ask for a PIN, a finger or a face.
_VERIFIED = UserVerificationRequirement.REQUIRED
_PATIENCE = 5 * 60 * 1000  # ms that a browser waits for its user


class Place(NamedTuple):
    """Where passkeys are good."""

    host: str  # the “RP ID”
    origin: str


class Answer(NamedTuple):
    """What a browser has answered, before it is checked."""

    id: str
    user: bytes  # the handle of the user whose passkey it is; empty: it names none


def options_to_add(
    place: Place, service: str, user: bytes, email: str, challenge: str, known: list[str]
) -> dict[str, Any]:
    """Return what a browser needs to make a passkey; no device that has a `known` one is asked."""
    options = webauthn.generate_registration_options(
        rp_id=place.host,
        rp_name=service,
        user_id=user,
        user_name=email,
        challenge=from_b64url(challenge),
        timeout=_PATIENCE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_VERIFIED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=from_b64url(id)) for id in known],
    )
    return options_to_json_dict(options)


def options_to_sign_in(place: Place, challenge: str) -> dict[str, Any]:
    """Return what a browser needs to let its user choose a passkey."""
    options = webauthn.generate_authentication_options(
        rp_id=place.host,
        challenge=from_b64url(challenge),
        timeout=_PATIENCE,
        user_verification=_VERIFIED,
    )
    return options_to_json_dict(options)


def check_added(place: Place, challenge: str, answer: str) -> tuple[str, str, int]:
    """Return id, public key and count of a passkey that a browser has made for this challenge."""
    made = webauthn.verify_registration_response(
        credential=parse_registration_credential_json(answer),
        expected_challenge=from_b64url(challenge),
        expected_rp_id=place.host,
        expected_origin=place.origin,
        require_user_verification=True,
    )
    return b64url(made.credential_id), b64url(made.credential_public_key), made.sign_count


def read_sign_in(answer: str) -> Answer:
    """Return whose passkey a browser says that it has used."""
    credential = parse_authentication_credential_json(answer)
    return Answer(b64url(credential.raw_id), credential.response.user_handle or b"")


def check_sign_in(place: Place, challenge: str, answer: str, public_key: str, count: int) -> int:
    """Return the new count of a passkey that has signed this challenge."""
    checked = webauthn.verify_authentication_response(
        credential=parse_authentication_credential_json(answer),
        expected_challenge=from_b64url(challenge),
        expected_rp_id=place.host,
        expected_origin=place.origin,
        credential_public_key=from_b64url(public_key),
        credential_current_sign_count=count,
        require_user_verification=True,
    )
    return checked.new_sign_count
