"""A provider of OpenID Connect, as a client of the code flow with PKCE sees it.

OpenID Connect Core 1.0 section 3.1, Discovery 1.0, RFC 7636 (PKCE), RFC 9207 (who has answered).
What a browser brings is believed of nothing but the state and the code: who has signed in is in the
ID token, which comes from the provider itself and is checked all the same.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import Clock
from darkroom_common.links.trust import trusting
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.storable import is_text
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
)
"""Of ID tokens: those by which nobody can sign who can only verify."""
FLOW_SECONDS: Final = 600
"""From going there to coming back."""
LEEWAY: Final = 60  # seconds, of a clock that is not ours
METADATA_SECONDS: Final = 3600.0
_HTTP_SECONDS: Final = 4.0
_MOST_BYTES: Final = 1 << 20
_LONGEST_SUBJECT: Final = 255
_PURPOSE: Final = "oidc"


class Refused(Exception):
    """Nobody is signed in. The reason is for the log."""


@dataclass(frozen=True)
class Flow:
    """What a browser keeps, sealed, from going to the provider to coming back.

    Attributes:
        state: comes back in the address.
        nonce: comes back in the ID token.
        verifier: of PKCE; the provider has its digest.
        following: the path to show then.
        begun: seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    following: str
    begun: int


@dataclass(frozen=True)
class Identity:
    """Somebody at the provider."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]


class Provider:
    """The provider of the settings. Its keys are asked for again when one is not known."""

    def __init__(
        self, settings: ApiSettings, client: httpx.AsyncClient, seal: Seal, clock: Clock
    ) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer or ""
        self._client_id = settings.oidc_client_id or ""
        self._http = client
        self._seal = seal
        self._clock = clock
        self._metadata: dict[str, Any] = {}
        self._until = 0.0
        self._keys: KeySet | None = None

    def begin(self, following: str) -> Flow:
        """Return a new flow."""
        begun = int(self._clock.now().timestamp())
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return Flow(state, nonce, verifier, following, begun)

    def sealed(self, flow: Flow) -> str:
        """Return a flow for a cookie."""
        return self._seal.seal(asdict(flow), purpose=_PURPOSE)

    def opened(self, cookie: str, state: str) -> Flow:
        """Return the flow of a cookie.

        Raises:
            Refused: there is none, it is too old, or of another state.
        """
        try:
            flow = Flow(**self._seal.open(cookie, purpose=_PURPOSE))
        except (Unsealable, TypeError):
            raise Refused("no flow") from None
        if self._clock.now().timestamp() > flow.begun + FLOW_SECONDS:
            raise Refused("flow too old")
        if not hmac.compare_digest(flow.state.encode(), state.encode()):
            raise Refused("state")
        return flow

    async def address(self, flow: Flow, redirect_uri: str) -> str:
        """Return where the browser signs in.

        Raises:
            ApiError: 503, the provider does not answer.
        """
        metadata = await self._discovered()
        challenge = hashlib.sha256(flow.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def identify(self, flow: Flow, answer: Mapping[str, str], redirect_uri: str) -> Identity:
        """Return who has signed in.

        Args:
            flow: of the browser.
            answer: the parameters that it has come back with.
            redirect_uri: as it was given in `address`.

        Raises:
            Refused: nobody has.
            ApiError: 503, the provider does not answer.
        """
        metadata = await self._discovered()
        by = answer.get("iss")
        if by is None and metadata.get("authorization_response_iss_parameter_supported"):
            raise Refused("no iss in the answer")
        if by is not None and by != self._issuer:
            raise Refused("another issuer has answered")
        if "error" in answer or not answer.get("code"):
            raise Refused("the provider refuses")
        tokens = await self._exchange(metadata, flow, answer["code"], redirect_uri)
        claims = await self._verified(metadata, tokens.get("id_token"), flow.nonce)
        more = await self._more(metadata, claims, tokens.get("access_token"))
        return Identity(self._issuer, claims["sub"], {**more, **claims})

    async def _exchange(
        self, metadata: Mapping[str, Any], flow: Flow, code: str, redirect_uri: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        secret, auth = self._settings.oidc_client_secret, None
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if secret is None:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in methods:  # RFC 6749 section 2.3.1
            auth = httpx.BasicAuth(
                quote(self._client_id, safe=""), quote(secret.get_secret_value(), safe="")
            )
        else:
            form |= {"client_id": self._client_id, "client_secret": secret.get_secret_value()}
        return await self._ask("POST", str(metadata["token_endpoint"]), data=form, auth=auth)

    async def _verified(
        self, metadata: Mapping[str, Any], token: object, nonce: str
    ) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core 1.0 section 3.1.3.7)."""
        if not isinstance(token, str):
            raise Refused("no ID token")
        claims = await self._signed(metadata, token)
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        party = claims.get("azp", self._client_id if len(audiences) == 1 else None)
        now = self._clock.now().timestamp()
        times = [claims.get(name) for name in ("iat", "exp")]
        if not all(isinstance(time, int | float) for time in times):
            raise Refused("times of the ID token")
        issued, expires = (float(time) for time in times if time is not None)
        subject, given = (_text(claims.get(name)) for name in ("sub", "nonce"))
        for reason, fits in (
            ("issuer of the ID token", claims.get("iss") == self._issuer),
            ("audience of the ID token", self._client_id in audiences),
            ("authorized party of the ID token", party == self._client_id),
            ("ID token is too old", now < expires + LEEWAY),
            ("ID token is of the future", issued - LEEWAY < now),
            ("ID token is of another sign-in", issued > now - FLOW_SECONDS - LEEWAY),
            ("nonce", hmac.compare_digest(given.encode(), nonce.encode())),
            ("subject", 0 < len(subject) <= _LONGEST_SUBJECT),
        ):
            if not fits:
                raise Refused(reason)
        return claims

    async def _signed(self, metadata: Mapping[str, Any], token: str) -> dict[str, Any]:
        """Return the claims of a token that a key of the provider has signed.

        Providers change their keys: one that is not known is asked for, once.
        """
        address = str(metadata["jwks_uri"])
        if self._keys is not None:
            try:
                return jwt.decode(token, self._keys, algorithms=list(ALGORITHMS)).claims
            except (JoseError, ValueError) as error:
                log.info("oidc.keys_asked", reason=type(error).__name__)
        document = await self._ask("GET", address)
        listed = document.get("keys")
        try:
            public = [
                one for one in listed or () if one["kty"] != "oct" and one.get("use") != "enc"
            ]
            self._keys = KeySet.import_key_set({"keys": public})
            return jwt.decode(token, self._keys, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Refused(f"signature of the ID token: {type(error).__name__}") from None

    async def _more(
        self, metadata: Mapping[str, Any], claims: Mapping[str, Any], token: object
    ) -> dict[str, Any]:
        """Return what the provider says of somebody beside the ID token, when that lacks it."""
        wanted = {self._settings.oidc_groups_claim, self._settings.oidc_username_claim}
        endpoint = metadata.get("userinfo_endpoint")
        if wanted <= claims.keys() or endpoint is None or not isinstance(token, str):
            return {}
        headers = {"authorization": f"Bearer {token}"}
        found = await self._ask("GET", str(endpoint), headers=headers)
        if found.get("sub") != claims["sub"]:
            raise Refused("the user information is of somebody else")
        return found

    async def _discovered(self) -> dict[str, Any]:
        if self._clock.monotonic() >= self._until:
            base = self._issuer.rstrip("/")
            found = await self._ask("GET", f"{base}/.well-known/openid-configuration")
            needed = {"authorization_endpoint", "token_endpoint", "jwks_uri"}
            if found.get("issuer") != self._issuer or not needed <= found.keys():
                log.error("oidc.another_issuer")
                raise provider_away()
            self._metadata = found
            self._until = self._clock.monotonic() + METADATA_SECONDS
        return self._metadata

    async def _ask(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        """Return the JSON object that the provider answers.

        Raises:
            Refused: it answers 4xx: a code is not right.
            ApiError: 503.
        """
        body = bytearray()
        try:
            async with self._http.stream(method, address, **more) as answer:
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise provider_away()
            value = orjson.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, orjson.JSONDecodeError) as error:
            log.warning("oidc.away", error=type(error).__name__)
            raise provider_away() from None
        if answer.is_client_error:
            raise Refused("the provider refuses")
        if not answer.is_success or not isinstance(value, dict):
            log.warning("oidc.away", status=answer.status_code)
            raise provider_away()
        return value


def _text(value: object) -> str:
    """Return a text that can be kept; empty for anything else."""
    return value if isinstance(value, str) and is_text(value) else ""


def provider_away() -> ApiError:
    """Return the answer while the provider does not answer, or not as one does."""
    return ApiError(
        503,
        Code.SERVICE_AWAY,
        "The provider that people sign in at does not answer.",
        headers={"Retry-After": RETRY_AFTER},
    )


@asynccontextmanager
async def open_provider(
    settings: ApiSettings, seal: Seal, clock: Clock
) -> AsyncIterator[Provider | None]:
    """Open the provider of the settings for the length of a block; None when there is none."""
    if settings.oidc_issuer is None:
        yield None
        return
    trusted = trusting(settings.oidc_ca, strict=settings.tls_strict)
    async with httpx.AsyncClient(timeout=_HTTP_SECONDS, verify=trusted) as client:
        yield Provider(settings, client, seal, clock)
