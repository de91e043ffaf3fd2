"""Zip files that are unpacked once: each Lambda worker of ministack unpacks its layer anew, 4,000 files of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_lock = threading.Lock()


class UnpackedOnce(zipfile.ZipFile):
    """A zip file whose `extractall` makes hard links to a first copy in the temporary folder: a tenth of the work.

    The links are as good as files to whoever reads them, replaces them or adds others; nobody may write into them.
    """

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Unpacks all of it into `path`."""
        assert self.filename is not None and path is not None and members is None and pwd is None
        name = hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()[:20]
        first = Path(tempfile.gettempdir()) / "unpacked" / name
        with _lock:
            if not first.exists():
                fresh = first.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                super().extractall(fresh)
                fresh.rename(first)
        shutil.copytree(first, path, copy_function=os.link, dirs_exist_ok=True)


def unpack_once(lambda_runtime: ModuleType) -> None:
    """Lets ministack's workers use it."""
    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": UnpackedOnce})  # type: ignore[attr-defined]
