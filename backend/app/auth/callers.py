"""By what name a request is counted, before anybody is asked whether its caller may do anything.

A name must be earned, for a new one buys a new quota: a token's signature must be right, and a key
must have been good once. Whether the session still stands, the route will ask.
"""

from app.auth.api_key_authenticator import ApiKeyAuthenticator
from app.auth.errors import InvalidToken, TokenExpired
from app.auth.tokens import TokenSigner
from app.core.clock import Clock
from app.core.exchange import Exchange

_TOKEN, _KEY = b"authorization", b"x-api-key"


class Callers:
    """Names callers by what they present.

    Args:
        signer: tells whose a token is.
        clock: a token that has run out names nobody.
        api_keys: tells whose a key is; None where there are none.
    """

    def __init__(
        self, signer: TokenSigner, clock: Clock, api_keys: ApiKeyAuthenticator | None
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._api_keys = api_keys

    def name(self, exchange: Exchange) -> tuple[str, ...] | None:
        """The account or the key; None for visitors, and for all that the route will refuse."""
        takes_key = self._api_keys is not None and exchange.has(_KEY)
        if exchange.has(_TOKEN):
            token = exchange.one(_TOKEN)
            return None if token is None or takes_key else self._account(token)
        return self._key(exchange.one(_KEY)) if takes_key else None

    def _account(self, authorization: bytes) -> tuple[str, ...] | None:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            return "user", str(self._signer.read(token, self._clock()).user_id)
        except (InvalidToken, TokenExpired):
            return None

    def _key(self, key: bytes | None) -> tuple[str, ...] | None:
        if key is None or self._api_keys is None:
            return None
        key_id = self._api_keys.known(key.decode("latin-1"))
        return None if key_id is None else ("key", str(key_id))
