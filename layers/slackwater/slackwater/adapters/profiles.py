"""The stack's routing profiles: the document in the bucket, or the shipped ones; always with the version that was
read.
"""

import hashlib
from typing import Final

from slackwater.adapters.store import Store
from slackwater.model.errors import Missing
from slackwater.model.names import PROFILES_KEY
from slackwater.model.profile import Profiles, shipped_profiles

SHIPPED: Final = "shipped-"
UNVERSIONED: Final = "unversioned"  # a bucket without versions


class ProfileStore:
    """Reads profiles; remembers versions that cannot change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Profiles] = {}

    def current(self) -> tuple[Profiles, str]:
        """The profiles in force and their version: S3's version id, or `shipped-<digest>` where no document was
        applied.
        """
        try:
            body, version = self._store.get_with_version(PROFILES_KEY)
        except Missing:
            body, version = shipped_profiles(), None
            return self._remember(SHIPPED + hashlib.sha256(body).hexdigest()[:12], body)
        return self._remember(version or UNVERSIONED, body)

    def put(self, body: bytes) -> str:
        """Puts a document into force; gives its version. Runs that are under way keep theirs."""
        with self._store.upload(PROFILES_KEY, content_type="application/json") as out:
            out.write(body)
        return out.version_id or UNVERSIONED

    def pinned(self, version: str) -> Profiles:
        """The profiles of a version that `current` gave. Raises Missing if that version is gone."""
        if version in self._known and version != UNVERSIONED:
            return self._known[version]
        if version.startswith(SHIPPED):
            return self._remember(version, shipped_profiles())[0]
        body, _ = self._store.get_with_version(PROFILES_KEY, None if version == UNVERSIONED else version)
        return self._remember(version, body)[0]

    def _remember(self, version: str, body: bytes) -> tuple[Profiles, str]:
        if version not in self._known or version == UNVERSIONED:
            self._known[version] = Profiles.from_bytes(body)
        return self._known[version], version
