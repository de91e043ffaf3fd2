"""The one DynamoDB table, as far as its low-level client goes: plain Python values in and out, conditions by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from botocore.exceptions import ClientError

MAX_TRANSACTION: Final = 100  # TransactWriteItems: 100 actions, 4 MB (DynamoDB API reference)
DUE_PARTITIONS: Final = 8

Item = dict[str, Any]
Key = tuple[str, str]


class ConditionFailed(Exception):
    """What the caller believed of the item is no longer true; `item` is what stands there (if it was asked for)."""

    def __init__(self, item: Item | None = None) -> None:
        super().__init__("condition failed")
        self.item = item


class TransactionFailed(Exception):
    """No action of the transaction was done; `reasons[i]` is action i's code (`None` where it would have passed)."""

    def __init__(self, reasons: Sequence[str | None]) -> None:
        super().__init__(",".join(r or "-" for r in reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Write:
    """An update (default) or a put of one item. `set_`, `add`, `remove` name attributes; `condition` is DynamoDB's
    language
    with names as `#name` and values as `:name`, both taken from the item's own attribute names and `values`."""

    key: Key
    set_: Mapping[str, Any] = field(default_factory=dict)
    set_once: Mapping[str, Any] = field(default_factory=dict)  # if_not_exists
    add: Mapping[str, int] = field(default_factory=dict)
    remove: Sequence[str] = ()
    condition: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    put: Item | None = None


def to_wire(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - one return a type
    """A Python value as a DynamoDB attribute. Raises TypeError for what has no honest place (floats included)."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [to_wire(v) for v in value]}
        case Mapping():
            return {"M": {k: to_wire(v) for k, v in value.items()}}
        case _:
            raise TypeError(f"{type(value).__name__} does not go into the table")


def from_wire(attribute: Mapping[str, Any]) -> Any:
    """The Python value of a DynamoDB attribute; numbers without a fraction come back as int."""
    ((kind, value),) = attribute.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return int(value) if value.lstrip("-").isdecimal() else Decimal(value)
        case "L":
            return [from_wire(v) for v in value]
        case "M":
            return {k: from_wire(v) for k, v in value.items()}
        case _:
            return value


def item_of(wire: Mapping[str, Any]) -> Item:
    return {k: from_wire(v) for k, v in wire.items()}


class Table:
    """Reads are consistent unless they go to the index. Raises ConditionFailed, TransactionFailed, and botocore's
    own errors.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def get(self, key: Key) -> Item | None:
        found = self._client.get_item(TableName=self._name, Key=_key(key), ConsistentRead=True).get("Item")
        return None if found is None else item_of(found)

    def get_many(self, keys: Sequence[Key]) -> list[Item]:
        """The items of these keys that exist, in no order (BatchGetItem: 100 keys and 16 MB a call)."""
        found: list[Item] = []
        for start in range(0, len(keys), MAX_TRANSACTION):
            some = [_key(key) for key in keys[start : start + MAX_TRANSACTION]]
            wanted: dict[str, Any] | None = {"Keys": some, "ConsistentRead": True}
            while wanted:
                answer: Any = self._client.batch_get_item(RequestItems={self._name: wanted})
                found += (item_of(wire) for wire in answer["Responses"].get(self._name, []))
                wanted = answer.get("UnprocessedKeys", {}).get(self._name)
        return found

    def write(self, write: Write, *, returns: str = "NONE") -> Item:
        """Does one write; `returns` is DynamoDB's ReturnValues for updates (`ALL_NEW`, `UPDATED_NEW`, `ALL_OLD`)."""
        arguments = _expression(write, self._name)
        try:
            if write.put is not None:
                self._client.put_item(**arguments)
                return {}
            answer = self._client.update_item(
                **arguments, ReturnValues=returns, ReturnValuesOnConditionCheckFailure="ALL_OLD"
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "ConditionalCheckFailedException":
                old: Any = exc.response.get("Item")
                raise ConditionFailed(None if not old else item_of(old)) from None
            raise
        return item_of(answer.get("Attributes", {}))

    def transact(self, writes: Sequence[Write], *, token: str | None = None) -> None:
        """All or nothing, at most 100 writes on different items."""
        actions = []
        for write in writes:
            kind = "Update" if write.put is None else "Put"
            actions.append({kind: _expression(write, self._name)})
        try:
            self._client.transact_write_items(
                TransactItems=actions, **({} if token is None else {"ClientRequestToken": token})
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            codes = [r.get("Code") for r in exc.response.get("CancellationReasons", [])]
            raise TransactionFailed([None if c in (None, "None") else c for c in codes]) from None

    def query(self, pk: str, *, prefix: str = "", forward: bool = True, limit: int | None = None) -> Iterator[Item]:
        """The items of a partition whose sort key begins with `prefix`, in order."""
        yield from self._pages(
            KeyConditionExpression="pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else ""),
            ExpressionAttributeValues={":pk": {"S": pk}, **({":prefix": {"S": prefix}} if prefix else {})},
            ConsistentRead=True,
            ScanIndexForward=forward,
            limit=limit,
        )

    def due(self, partition: int, until_iso: str, *, limit: int | None = None) -> Iterator[Item]:
        """The items of `due#<partition>` whose `next_check_at` has come, oldest first (GSI1: eventually consistent)."""
        yield from self._pages(
            IndexName="GSI1",
            KeyConditionExpression="gsi1pk = :pk AND next_check_at <= :until",
            ExpressionAttributeValues={":pk": {"S": f"due#{partition}"}, ":until": {"S": until_iso}},
            limit=limit,
        )

    def _pages(self, *, limit: int | None, **arguments: Any) -> Iterator[Item]:
        given = 0
        while True:
            page = self._client.query(TableName=self._name, **arguments, **({} if limit is None else {"Limit": limit}))
            for wire in page["Items"]:
                yield item_of(wire)
                given += 1
                if limit is not None and given >= limit:
                    return
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def due_partition(id_: str) -> str:
    """The GSI1 partition of an item: spread over eight by its id."""
    return f"due#{sum(id_.encode()) % DUE_PARTITIONS}"


def _key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def _expression(write: Write, table: str) -> dict[str, Any]:
    names: dict[str, str] = {}
    values: dict[str, Any] = {f":{k}": to_wire(v) for k, v in write.values.items()}

    def name(attribute: str) -> str:
        names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def value(prefix: str, attribute: str, v: Any) -> str:
        values[f":{prefix}{attribute}"] = to_wire(v)
        return f":{prefix}{attribute}"

    arguments: dict[str, Any] = {"TableName": table}
    if write.put is not None:
        arguments["Item"] = {**_key(write.key), **{k: to_wire(v) for k, v in write.put.items()}}
    else:
        arguments["Key"] = _key(write.key)
        sets = [f"{name(a)} = {value('s_', a, v)}" for a, v in write.set_.items()]
        sets += [f"{name(a)} = if_not_exists({name(a)}, {value('o_', a, v)})" for a, v in write.set_once.items()]
        clauses = [
            f"SET {', '.join(sets)}" if sets else "",
            "ADD " + ", ".join(f"{name(a)} {value('a_', a, v)}" for a, v in write.add.items()) if write.add else "",
            "REMOVE " + ", ".join(name(a) for a in write.remove) if write.remove else "",
        ]
        arguments["UpdateExpression"] = " ".join(c for c in clauses if c)
    if write.condition:
        arguments["ConditionExpression"] = write.condition
        for word in _names_in(write.condition):
            names[f"#{word}"] = word
    if names:
        arguments["ExpressionAttributeNames"] = names
    if values:
        arguments["ExpressionAttributeValues"] = values
    return arguments


def _names_in(condition: str) -> Iterator[str]:
    for piece in condition.split("#")[1:]:
        word = ""
        for character in piece:
            if not (character.isalnum() or character == "_"):
                break
            word += character
        yield word
