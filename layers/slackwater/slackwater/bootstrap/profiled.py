"""What the functions share that work by the routing profiles: survey, plan, dispatch, route and work."""

from functools import cached_property

from slackwater.adapters.profiles import ProfileStore
from slackwater.bootstrap.kit import Kit
from slackwater.policy.capability import Capability, load_capability
from slackwater.policy.prices import PriceBook, load_price_book


class ProfiledKit(Kit):
    """Profiles, and what AWS offers at what price."""

    @cached_property
    def prices(self) -> PriceBook:
        return load_price_book()

    @cached_property
    def capability(self) -> Capability:
        return load_capability()

    @cached_property
    def profiles(self) -> ProfileStore:
        return ProfileStore(self.store)
