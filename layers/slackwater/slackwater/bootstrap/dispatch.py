"""For the function that takes packs."""

from dataclasses import dataclass

from slackwater.adapters.queues import Queue
from slackwater.adapters.throttles import CountingThrottles
from slackwater.bootstrap.calls import CallsKit
from slackwater.model.clock import ScaledClock
from slackwater.settings import Settings
from slackwater.usecases.dispatch import Dispatch
from slackwater.usecases.routing import CallsOfFileRun


@dataclass(frozen=True)
class Dispatching:
    """What the pack queue's handler needs: the use case, its queue for the heartbeat, the clock, the throttles met."""

    dispatch: Dispatch
    queue: Queue
    clock: ScaledClock
    throttles: CountingThrottles


def build(settings: Settings) -> Dispatching:
    kit = CallsKit(settings)
    queue = kit.queue(settings.pack_queue_url)
    dispatch = Dispatch(
        packs=kit.runs,
        parts=kit.parts,
        documents=kit.store,
        engine=kit.spending,
        calls_of=CallsOfFileRun(runs=kit.runs, profiles=kit.profiles, routing=kit.routing),
        queue=queue,
        settle=kit.settle,
        clock=kit.clock,
        rng=kit.rng,
    )
    return Dispatching(dispatch, queue, kit.clock, kit.throttles)
