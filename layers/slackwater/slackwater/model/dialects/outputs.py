"""Result lines in other dialects, as far as the line alone tells all that the dialect says. Bedrock's own repeats the
request, and is made where that is at hand."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from slackwater.model.dialects import anthropic_output, converse_output, openai_output
from slackwater.model.dialects.answers import Translate

FROM_THE_LINE: Final[Mapping[str, Translate]] = MappingProxyType(
    {
        "anthropic": anthropic_output.output_line,
        "converse": converse_output.output_line,
        "openai": openai_output.output_line,
    }
)
