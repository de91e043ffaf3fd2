"""Words that agree with their number."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2,000 jobs`; `many` where an s does not do: `counted(n, "job is late", "jobs are late")`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
