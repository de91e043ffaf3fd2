"""For the function that tells the fleet, once a day, what Service Quotas says."""

from slackwater.adapters.account import AwsAccount
from slackwater.adapters.ledger.quota import QuotaLedger
from slackwater.bootstrap.profiled import ProfiledKit
from slackwater.policy.profile_check import offer_of
from slackwater.settings import Settings
from slackwater.usecases.quotas import Synced, SyncQuotas, pools_in_force


def sync(settings: Settings) -> Synced:
    """Syncs the limits of all profiles in force, once. Raises ConfigurationError for profiles that cannot be read."""
    kit = ProfiledKit(settings)
    profiles, _ = kit.profiles.current()
    offers = {name: offer_of(name, one, kit.capability, kit.prices) for name, one in profiles.profiles.items()}
    use_case = SyncQuotas(
        account=AwsAccount(kit.client),
        ledger=QuotaLedger(kit.table),
        about=kit.capability.model,
        clock=kit.clock,
    )
    return use_case(pools_in_force(offers))
