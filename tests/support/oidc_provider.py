"""A provider of OpenID Connect as a process of its own: the server side of Authlib, in Flask.

Run as `python -m tests.support.oidc_provider <port>`. It signs in whoever `/control` was told last,
without asking, and insists on PKCE. What else it is told there are faults of its tokens.
"""

import base64
import hmac
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, OpenIDCode
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID = "darkroom"
CLIENT_SECRET = "a secret: with / marks"


def new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})


@dataclass
class Told:
    """What the provider does next."""

    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "nobody"})
    of_id_token: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    in_userinfo_only: list[str] = field(default_factory=list)
    key: RSAKey = field(default_factory=new_key)
    published: RSAKey | None = None


class Client(ClientMixin):  # type: ignore[misc]
    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.endswith("/api/v1/auth/oidc/callback")

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, _: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"


@dataclass
class AuthorizationCode(AuthorizationCodeMixin):  # type: ignore[misc]
    code: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str
    user: dict[str, Any]

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> None:
        return None


CODES: dict[str, AuthorizationCode] = {}
NONCES: set[str] = set()
TOKENS: dict[str, dict[str, Any]] = {}
TOLD = Told()
app = flask.Flask(__name__)


def issuer() -> str:
    return flask.request.host_url.rstrip("/")


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ["client_secret_basic"]

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        NONCES.add(data["nonce"])
        CODES[code] = AuthorizationCode(
            code,
            request.payload.redirect_uri,
            request.payload.scope,
            data.get("nonce"),
            data["code_challenge"],
            data["code_challenge_method"],
            request.user,
        )

    def query_authorization_code(self, code: str, _: Any) -> AuthorizationCode | None:
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code: AuthorizationCode) -> None:
        del CODES[authorization_code.code]

    def authenticate_user(self, authorization_code: AuthorizationCode) -> dict[str, Any]:
        return authorization_code.user


class WithIdToken(OpenIDCode):  # type: ignore[misc]
    def exists_nonce(self, nonce: str, _: Any) -> bool:
        return nonce in NONCES

    def get_jwt_config(self, _: Any, client: Any = None) -> dict[str, Any]:
        key = TOLD.key.as_dict(private=True)
        return {"key": key, "alg": "RS256", "iss": issuer(), "exp": 3600}

    def generate_user_info(self, user: dict[str, Any], _: str) -> dict[str, Any]:
        return {k: v for k, v in user.items() if k not in TOLD.in_userinfo_only}


server = AuthorizationServer()
server.init_app(
    app,
    query_client=lambda client_id: Client() if client_id == CLIENT_ID else None,
    save_token=lambda token, request: TOKENS.__setitem__(token["access_token"], request.user),
)
server.register_grant(CodeGrant, [WithIdToken(require_nonce=True), CodeChallenge(required=True)])


@app.get("/.well-known/openid-configuration")
def configuration() -> Any:
    base = issuer()
    return {
        "issuer": base if TOLD.fault != "issuer" else "https://elsewhere.example",
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "userinfo_endpoint": f"{base}/userinfo",
        "jwks_uri": f"{base}/jwks",
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }


@app.get("/jwks")
def jwks() -> Any:
    return KeySet([TOLD.published or TOLD.key]).as_dict(private=False)


@app.get("/authorize")
def authorize() -> Any:
    grant = server.get_consent_grant(end_user=TOLD.claims)
    return server.create_authorization_response(grant=grant, grant_user=TOLD.claims)


@app.post("/token")
def token() -> Any:
    answer = server.create_token_response()
    found = answer.get_json()
    if "id_token" in found and (TOLD.of_id_token or TOLD.fault):
        found["id_token"] = forged(found["id_token"])
        answer.set_data(flask.json.dumps(found))
    return answer


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(flask.json.dumps(value).encode()).decode().rstrip("=")


def forged(id_token: str) -> str:
    """Return an ID token with the faults that were asked for."""
    claims = {**jwt.decode(id_token, TOLD.key).claims, **TOLD.of_id_token}
    claims = {name: value for name, value in claims.items() if value is not None}
    match TOLD.fault:
        case "another key":
            return jwt.encode({"alg": "RS256", "kid": TOLD.key.kid}, claims, new_key())
        case "hs256":  # signed with what everybody can read
            signed = f"{_segment({'alg': 'HS256', 'kid': TOLD.key.kid})}.{_segment(claims)}"
            mac = hmac.digest(TOLD.key.as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        case "none":
            return f"{_segment({'alg': 'none'})}.{_segment(claims)}."
    return jwt.encode({"alg": "RS256", "kid": TOLD.key.kid}, claims, TOLD.key)


@app.get("/userinfo")
def userinfo() -> Any:
    found = TOKENS[flask.request.headers["authorization"].removeprefix("Bearer ")]
    return {**found, "sub": "another"} if TOLD.fault == "userinfo" else found


@app.post("/control")
def control() -> Any:
    """Take what comes next: `claims`, `of_id_token`, `fault`, `in_userinfo_only`, `rotate`."""
    told = flask.request.get_json()
    TOLD.claims = told.get("claims", TOLD.claims)
    TOLD.of_id_token = told.get("of_id_token", {})
    TOLD.fault = told.get("fault", "")
    TOLD.in_userinfo_only = told.get("in_userinfo_only", [])
    if told.get("rotate"):
        TOLD.key = new_key()
    return {"now": int(time.time())}


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    app.run("127.0.0.1", int(sys.argv[1]), threaded=False)
