"""An account's webhook secrets: one signs, and during a rotation the one before it as well."""

from billing.accounts import (
    Account,
    account_key,
    live_webhook_secrets,
    new_webhook_secret,
)
from billing.errors import AccountUnknown
from jobs.errors import SecretRotating
from jobs.ids import iso_utc
from storage.kv import Conflict, KeyValue, Put, Unavailable

MAX_GRACE_HOURS = 720
USUAL_GRACE_HOURS = 24

_HOUR_MS = 60 * 60 * 1000
_COMMIT_TRIES = 5


def rotate_webhook_secret(
    kv: KeyValue, account_id: str, *, grace_hours: int, now_ms: int
) -> Account:
    """Give the account a new secret; the one before signs as well for so many hours.

    There are never three: `SecretRotating` while an older one is live still, since its receivers
    may not have the next one yet. With no grace every older one ends at once, whatever uses it.
    Raises `AccountUnknown`.
    """
    for _ in range(_COMMIT_TRIES):
        item = kv.get(account_key(account_id))
        if item is None:
            raise AccountUnknown(f"No such account: {account_id}")
        account = Account.model_validate(item.value)
        if grace_hours and len(live_webhook_secrets(account, now_ms=now_ms)) > 1:
            until = iso_utc(account.older_webhook_secret_until_ms)
            raise SecretRotating(f"The secret before this one signs until {until}")
        rotated = account.model_copy(
            update={
                "webhook_secret": new_webhook_secret(),
                "older_webhook_secret": account.webhook_secret if grace_hours else None,
                "older_webhook_secret_until_ms": now_ms + grace_hours * _HOUR_MS,
            }
        )
        try:
            kv.commit(Put(item.key, rotated.model_dump(), replaces=item.version))
        except Conflict:
            continue
        return rotated
    raise Unavailable(f"account {account_id} is too contended to rotate its secret")
