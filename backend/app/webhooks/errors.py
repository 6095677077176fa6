"""What may be wrong with webhooks."""

from app.core.errors import InvalidTransition, Unprocessable


class TooManyWebhooks(Unprocessable):
    code, title = "policy_violation", "There are as many webhooks as there may be."

    def __init__(self) -> None:
        super().__init__(reason="too_many_webhooks")


class WebhookIsOff(InvalidTransition):
    title = "The webhook is not active."
