"""For the function that writes results file and receipt."""

from slackwater.bootstrap.kit import Kit
from slackwater.policy.prices import load_price_book
from slackwater.settings import Settings
from slackwater.usecases.aggregate import Aggregate


def build(settings: Settings) -> Aggregate:
    kit = Kit(settings)
    return Aggregate(
        documents=kit.store,
        runs=kit.runs,
        clock=kit.clock,
        price_version=load_price_book().version,
        calls_in_flight=settings.concurrency,
    )
