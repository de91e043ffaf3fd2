"""A small AWS bulk offer, as AWS writes one: the layout from AWS's page on reading price list files, the attributes
and usage types as public tools recorded them from the lists of July to October 2026 (the prices are theirs, too).
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
"""

import json

NOTE = (
    "This pricing list is for informational purposes only. All prices are subject to the additional terms included in "
    "the pricing pages on http://aws.amazon.com. All Free Tier prices are also subject to the terms included at "
    "https://aws.amazon.com/free/"
)
LOCATIONS = {
    "us-east-1": "US East (N. Virginia)",
    "us-west-2": "US West (Oregon)",
    "eu-west-2": "EU (London)",
    "ap-southeast-2": "Asia Pacific (Sydney)",
}


def bedrock(usagetype, model, usd, *, region="us-east-1", unit="1K tokens", **attributes):
    """A product of AmazonBedrock with its price."""
    named = {"provider": "a provider", "model": model, "feature": "On-demand Inference"} if model else {}
    return named | {"usagetype": usagetype, "servicename": "Amazon Bedrock"} | attributes, region, unit, usd, ""


def marketplace(usagetype, name, usd, *, region="us-west-2", unit="1M tokens", description=""):
    """A product of AmazonBedrockFoundationModels with its price."""
    attributes = {"usagetype": usagetype, "servicename": f"{name} (Amazon Bedrock Edition)"}
    return attributes, region, unit, usd, description


def offer(code, products, *, published="2026-11-20T13:01:14Z", effective="2026-11-01T00:00:00Z"):
    """The whole document."""
    listed, terms = {}, {}
    for number, (attributes, region, unit, usd, description) in enumerate(products):
        sku = f"{code[-4:].upper()}{number:012d}"
        listed[sku] = {
            "sku": sku,
            "productFamily": "Amazon Bedrock",
            "attributes": {
                "servicecode": code,
                "location": LOCATIONS[region],
                "locationType": "AWS Region",
                "operation": "",
                "regionCode": region,
                **attributes,
            },
        }
        rate = f"{sku}.JRTCKXETXF.6YS6EN2CT7"
        terms[sku] = {
            f"{sku}.JRTCKXETXF": {
                "offerTermCode": "JRTCKXETXF",
                "sku": sku,
                "effectiveDate": effective,
                "priceDimensions": {
                    rate: {
                        "rateCode": rate,
                        "description": description or f"${usd} per {unit} for {attributes['usagetype']}",
                        "beginRange": "0",
                        "endRange": "Inf",
                        "unit": unit,
                        "pricePerUnit": {"USD": usd},
                        "appliesTo": [],
                    }
                },
                "termAttributes": {},
            }
        }
    return {
        "formatVersion": "v1.0",
        "disclaimer": NOTE,
        "offerCode": code,
        "version": "20261120130114",
        "publicationDate": published,
        "products": listed,
        "terms": {"OnDemand": terms},
        "attributesList": {},
    }


def write(path, document):
    """As AWS writes it: with spaces around colons."""
    path.write_text(json.dumps(document, indent=2, separators=(",", " : ")), encoding="utf-8")
    return path


# Every rate of Qwen3 32B is there twice, once for each endpoint.
QWEN = [
    bedrock(f"USE1-{key}-{what}-tokens{tail}", "Qwen3 32B", usd)
    for key, standard in (("Qwen3-32B", ""), ("qwen.qwen3-32b-mantle", "-standard"))
    for what, tail, usd in (
        ("input", standard, "0.0001500000"),
        ("output", standard, "0.0006000000"),
        ("input", "-flex", "0.0000750000"),
        ("output", "-flex", "0.0003000000"),
        ("input", "-priority", "0.0002625000"),
        ("output", "-priority", "0.0010500000"),
        ("input", "-batch", "0.0000750000"),
        ("output", "-batch", "0.0003000000"),
    )
]
NOVA = [
    bedrock("USE1-NovaPro-input-tokens", "Nova Pro", "0.0008000000", inferenceType="Input tokens"),
    bedrock("USE1-NovaPro-output-tokens", "Nova Pro", "0.0032000000", inferenceType="Output tokens"),
    bedrock("USE1-NovaPro-input-tokens-batch", "Nova Pro", "0.0004000000", feature="Batch Inference"),
    bedrock("USE1-NovaPro-output-tokens-batch", "Nova Pro", "0.0016000000", feature="Batch Inference"),
    bedrock("USE1-NovaPro-input-tokens-flex", "Nova Pro", "0.0004000000", inferenceType="Input tokens flex"),
    bedrock("USE1-NovaPro-output-tokens-flex", "Nova Pro", "0.0016000000", inferenceType="Output tokens flex"),
    bedrock("USE1-NovaPro-input-tokens-priority", "Nova Pro", "0.0014000000"),
    bedrock("USE1-NovaPro-output-tokens-priority", "Nova Pro", "0.0056000000"),
    bedrock("USE1-NovaPro-cache-read-input-token-count", "Nova Pro", "0.0002000000"),
    bedrock("USE1-NovaPro-input-tokens-latency-optimized", "Nova Pro", "0.0010000000"),
    bedrock("USE1-NovaPro-input-tokens-custom-model", "Nova Pro", "0.0008000000", feature="Model Customization"),
    bedrock("USE1-NovaPro-Customization-Training", "Nova Pro", "0.0080000000", feature="Model Customization"),
]
CLAUDE = [
    marketplace(f"USW2-MP:USW2_{meter}-Units", "Claude Haiku 4.5", usd)
    for meter, usd in (
        ("InputTokenCount", "1.1000000000"),
        ("OutputTokenCount", "5.5000000000"),
        ("CacheReadInputTokenCount", "0.1100000000"),
        ("CacheWriteInputTokenCount", "1.3750000000"),
        ("CacheWrite1hInputTokenCount", "2.2000000000"),
        ("InputTokenCount_Batch", "0.5500000000"),
        ("OutputTokenCount_Batch", "2.7500000000"),
        ("InputTokenCount_Global", "1.0000000000"),
        ("OutputTokenCount_Global", "5.0000000000"),
        ("CacheReadInputTokenCount_Global", "0.1000000000"),
        ("CacheWriteInputTokenCount_Global", "1.2500000000"),
        ("CacheWrite1hInputTokenCount_Global", "2.0000000000"),
        ("InputTokenCount_Global_Batch", "0.5000000000"),
        ("OutputTokenCount_Global_Batch", "2.5000000000"),
    )
]
OTHERS = [
    marketplace("USW2-MP:USW2_Reserved_1Month_InputTPM_Geo-Units", "Claude Haiku 4.5", "0.066", unit="1M TPM Hour"),
    marketplace("USW2-MP:USW2_cache_write_tokens_30m_standard-Units", "Claude Haiku 4.5", "1.0"),
    bedrock("USW2-Ray-V2-Medfps-HDRes", "Ray v2", "1.5", region="us-west-2", unit="Second"),
]
