"""What `serve` says once, on an empty folder: the demo account, its key, and how to try it."""

from billing.administration import OpenedAccount

_TEXT = r"""
A demo account with {credits} credits is ready. Its key is shown this once:

    {key}

The account's id is {account_id}, and the secret that its webhooks are signed with
is {webhook_secret}

Enlarge a picture of yours, in a second terminal:

    KEY={key}
    URL=$(curl -s -H "X-API-Key: $KEY" -F file=@photo.jpg {public_url}/v2/uploads |
          sed 's/.*"url":"\([^"]*\)".*/\1/')
    curl -s -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \
         -d '{{"model": "topaz-image-upscale",
              "topazUpscaleParams": {{"image": "'$URL'", "upscale_factor": 4}}}}' \
         {public_url}/v2/images/upscale

and ask for the result:

    curl -s -H "X-API-Key: $KEY" {public_url}/v2/jobs
"""


def welcome(opened: OpenedAccount, *, credits: int, public_url: str) -> str:
    """The text for a new demo account."""
    return _TEXT.format(
        credits=credits,
        key=opened.key.apiframe_spelling,
        account_id=opened.account.id,
        webhook_secret=opened.account.webhook_secret,
        public_url=public_url,
    )
