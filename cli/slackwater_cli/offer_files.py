"""AWS's bulk offer files: downloaded or at hand, read entry by entry, so that memory does not grow with the file.

A file is one JSON object of `products` (by SKU) and `terms.OnDemand` (by SKU), a few to many megabytes large. It is
read twice: for the products, and then for the prices of those that are wanted.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from slackwater_cli.errors import BROKEN, Complaint

if TYPE_CHECKING:
    from slackwater.policy.price_offers import OfferReader

BASE_URL: Final = "https://pricing.us-east-1.amazonaws.com"
_CHUNK_BYTES = 1 << 18
_ENTRY_CHARS = 1 << 24  # a product is a kilobyte: what needs 16 MB is no offer file
_TIMEOUT_S = 60.0
_GZIP = b"\x1f\x8b"
_SOMETHING = re.compile(r"[^ \t\r\n]")


def download(base_url: str, offer: str, region: str, folder: Path) -> Path | None:
    """The current file of one offer and region, in `folder`; None where AWS has none. Raises Complaint for anything
    else that goes wrong. Public: no account, no credentials."""
    url = f"{base_url}/offers/v1.0/aws/{offer}/current/{region}/index.json"
    target = folder / f"{offer}.{region}.json"
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310  (the base is ours or the operator's)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer, target.open("wb") as out:  # noqa: S310
            shutil.copyfileobj(answer, out, _CHUNK_BYTES)
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):  # S3 says 403 for what is not there
            return None
        raise Complaint(f"{url}: HTTP {error.code}", code="offers", status=BROKEN) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        message = f"{url} could not be read ({reason}); download it elsewhere and give the file to --from"
        raise Complaint(message, code="offers", status=BROKEN) from None
    return target


def read(path: Path, reader: OfferReader) -> str:
    """Feeds one file (JSON, or gzip of it) to `reader`; gives the offer's code. Raises Complaint for what is none."""
    from slackwater.policy.price_offers import OFFERS  # noqa: PLC0415

    try:
        head, wanted = _products(path, reader, OFFERS)
        _terms(path, reader, wanted)
    except NotAnOffer as error:
        raise Complaint(f"{path}: {error}", code="offers") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise Complaint(f"{path} could not be read: {error}", code="offers") from None
    return head


def _products(path: Path, reader: OfferReader, offers: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The offer's code, and the wanted products by SKU."""
    head: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    seen = False
    with _opened(path) as file:
        json_ = Entries(file)
        for name in json_.members():
            if name in ("offerCode", "publicationDate"):
                head[name] = json_.value()
            elif name == "products":
                code = str(head.get("offerCode"))
                if code not in offers:
                    raise NotAnOffer(f"not one of AWS's offers {', '.join(offers)}")
                reader.offer(code, str(head.get("publicationDate", "")))
                for sku in json_.members():
                    product = json_.value()
                    one = reader.wants(code, product.get("attributes") or {}) if isinstance(product, dict) else None
                    if one is not None:
                        wanted[sku] = one
                seen = True
            else:
                json_.skip()
    if not seen:
        raise NotAnOffer("it has no products")
    return str(head["offerCode"]), wanted


def _terms(path: Path, reader: OfferReader, wanted: dict[str, Any]) -> None:
    seen = False
    with _opened(path) as file:
        json_ = Entries(file)
        for name in json_.members():
            if name != "terms":
                json_.skip()
                continue
            for kind in json_.members():
                if kind != "OnDemand":
                    json_.skip()
                    continue
                seen = True
                for sku in json_.members():
                    terms = json_.value()
                    if sku in wanted and isinstance(terms, dict):
                        reader.price(wanted.pop(sku), list(terms.values()))
    if not seen:
        raise NotAnOffer("it has no terms.OnDemand")
    for one in wanted.values():  # a product that nobody sells has no price
        reader.price(one, [])


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


class NotAnOffer(ValueError):
    """The file is cut short, no JSON, or something else than an offer: download it again."""


class Entries:
    """A JSON object read member by member: `members()` gives the names, and after each name exactly one of
    `members()`, `value()` or `skip()` takes its value."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._ended = False

    def members(self) -> Iterator[str]:
        """The names of the object's members, in the file's order."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise NotAnOffer("not JSON")
            self._expect(":")
            yield name
            if self._peek() == "}":
                self._at += 1
                return
            self._expect(",")

    def value(self) -> Any:
        """The next value as a whole; entries are small."""
        self._peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > _ENTRY_CHARS or not self._more():
                    raise NotAnOffer("not JSON, or cut short") from None
                continue
            if end < len(self._text) or isinstance(value, str | dict | list) or not self._more():
                self._at = end
                return value

    def skip(self, levels: int = 2) -> None:
        """Passes over the next value, its members and their members one by one: only what lies deeper is small."""
        if not levels or self._peek() != "{":
            self.value()
            return
        for _ in self.members():
            self.skip(levels - 1)

    def _peek(self) -> str:
        while True:
            found = _SOMETHING.search(self._text, self._at)
            if found is not None:
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._more():
                raise NotAnOffer("cut short")

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise NotAnOffer("not JSON")
        self._at += 1

    def _more(self) -> bool:
        """Reads on; False at the file's end. What was passed is dropped."""
        if self._ended:
            return False
        data = self._file.read(_CHUNK_BYTES)
        self._ended = not data
        text = self._decode.decode(data, self._ended)
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(text) or not self._ended
