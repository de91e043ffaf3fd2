"""The profiles of a stack by version: what a run has pinned is read again, whatever was applied since."""

import orjson
import pytest

from slackwater.adapters.profiles import SHIPPED, UNVERSIONED, ProfileStore
from slackwater.model.errors import Missing


def document(deadline: str) -> bytes:
    profile = {"model": "m", "home_region": "us-east-1", "default_deadline": deadline}
    return orjson.dumps({"v": 1, "profiles": {"default": profile}})


class Versions:
    """A bucket's object by version; `versioned` false gives no version ids."""

    def __init__(self, *bodies: bytes, versioned: bool = True) -> None:
        self.bodies, self.versioned, self.reads = list(bodies), versioned, 0

    def get_with_version(self, key, version=None):
        self.reads += 1
        if not self.bodies:
            raise Missing(key)
        number = len(self.bodies) if version is None else int(version.removeprefix("v"))
        return self.bodies[number - 1], f"v{number}" if self.versioned else None


def deadline(profiles) -> str:
    return profiles.named("default").default_deadline


def test_a_pinned_version_is_read_once_and_stays_what_it_was():
    bucket = Versions(document("1h"), document("2h"))
    fresh = ProfileStore(bucket)
    assert (deadline(fresh.pinned("v1")), deadline(fresh.current()[0])) == ("1h", "2h")
    assert deadline(fresh.pinned("v1")) == "1h" and deadline(fresh.pinned("v2")) == "2h"
    assert bucket.reads == 2


def test_the_shipped_profiles_have_a_version_that_needs_no_bucket():
    profiles, version = ProfileStore(Versions()).current()
    assert version.startswith(SHIPPED)
    assert ProfileStore(Versions(document("1h"))).pinned(version) == profiles


def test_a_bucket_without_versions_gives_what_is_there_now():
    bucket = Versions(document("1h"), versioned=False)
    store = ProfileStore(bucket)
    assert store.current()[1] == UNVERSIONED
    bucket.bodies.append(document("2h"))
    assert deadline(store.current()[0]) == deadline(store.pinned(UNVERSIONED)) == "2h"


def test_a_version_that_was_deleted_is_missing():
    with pytest.raises(Missing):
        ProfileStore(Versions()).pinned("v1")
