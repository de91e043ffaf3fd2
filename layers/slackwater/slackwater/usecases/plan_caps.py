"""What a plan says of the caps that it may meet. Nothing is refused for it: answers may be shorter than allowed."""

from collections.abc import Mapping, Sequence

from slackwater.model.money import usd_text
from slackwater.model.profile import Profile
from slackwater.policy.budget import CODE, Cap
from slackwater.usecases.planned import ClassPlan


def cap_warnings(classes: Sequence[ClassPlan], profiles: Mapping[str, Profile], max_cost_pico: int | None) -> list[str]:
    """A line for each cap that may not hold all that is planned, or refuses jobs because their price is unknown."""
    found = []
    names = sorted({entry.jobs.key.profile for entry in classes})
    if max_cost_pico is not None:
        found += _one(f"{Cap.FILE.value} of the file", max_cost_pico, classes)
    for name in names:
        budget = profiles[name].budget
        mine = [entry for entry in classes if entry.jobs.key.profile == name]
        for cap, limit_pico in ((Cap.RUN, budget.run_pico), (Cap.DAY, budget.day_pico)):
            if limit_pico is not None:
                found += _one(f"{cap.value} of profile {name}", limit_pico, mine)
    return found


def _one(whose: str, limit_pico: int, classes: Sequence[ClassPlan]) -> list[str]:
    placed = [entry for entry in classes if entry.decision.lane is not None]
    known = [entry.decision.cost_pico for entry in placed if entry.decision.cost_pico is not None]
    if len(known) < len(placed):
        unknown = sum(entry.total.jobs for entry in placed if entry.decision.cost_pico is None)
        return [f"{whose}: the price of {unknown} jobs is unknown, and no budget can hold that: they fail as {CODE}"]
    if sum(known) <= limit_pico:
        return []
    return [
        f"{whose}, {usd_text(limit_pico)} USD: all jobs together may cost {usd_text(sum(known))} USD, if their answers "
        f"are as long as they may be; what the money does not reach fails as {CODE}"
    ]
