"""`slackwater prices`: the table over regions, the comparison with an offer, and what is written and what is not."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slackwater.policy.prices import PriceBook, load_price_book, read_table, shipped_table
from slackwater_cli import main
from tests.unit import offers
from tests.unit.rig import HAIKU

GPT_OSS = "openai.gpt-oss-120b-1:0"
NOVA_PRO = "amazon.nova-pro-v1:0"
BEDROCK, MARKETPLACE = "AmazonBedrock", "AmazonBedrockFoundationModels"
SHIPPED = read_table(shipped_table())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run(["prices", *map(str, arguments)])
    return ended.value.code or 0


def document(capsys, *arguments: str, status: int = 0) -> dict:
    assert run(*arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def small(tmp_path):
    """A table of three rows: what the sample offers price, and nothing else."""
    keys = {
        (NOVA_PRO, "us-east-1", "regional"),
        ("qwen.qwen3-32b-v1:0", "us-east-1", "regional"),
        (HAIKU, "us-west-2", "regional"),
        (HAIKU, "us-west-2", "global"),
    }
    rows = [row for row in SHIPPED["rows"] if (row["model_id"], row["region"], row["kind"]) in keys]
    assert len(rows) == 4
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SHIPPED | {"rows": rows}), encoding="utf-8")
    return path


def sample(tmp_path, *, nova=offers.NOVA, claude=offers.CLAUDE):
    """`--from` both offers, as files."""
    bedrock = offers.write(tmp_path / "bedrock.json", offers.offer(BEDROCK, [*nova, *offers.QWEN]))
    marketplace = offers.write(tmp_path / "marketplace.json", offers.offer(MARKETPLACE, [*claude, *offers.OTHERS[:2]]))
    return "--from", bedrock, "--from", marketplace


def dearer(products, usagetype, usd):
    return [
        (attributes, region, unit, usd if attributes["usagetype"] == usagetype else price, text)
        for attributes, region, unit, price, text in products
    ]


# ---------------------------------------------------------------------- show


def test_show_is_a_table_over_regions_with_a_dash_for_what_nobody_knows(capsys):
    assert run("show", GPT_OSS) == 0
    lines = capsys.readouterr().out.splitlines()
    london = next(line.split() for line in lines if line.startswith("eu-west-2"))
    assert london[:4] == ["eu-west-2", "0.23/0.93", "–", "0.12/0.47"]
    assert london[4] == "0.115/0.465~"
    assert london[-3:] == ["S1", "≤", "2026-08-20"]
    virginia = next(line.split() for line in lines if line.startswith("us-east-1"))
    assert virginia[4] == "0.075/0.3"  # listed, not derived
    assert any("ratio" in line for line in lines)


def test_show_tells_both_kinds_of_route_and_cache_prices(capsys):
    assert run("show", HAIKU, "--region", "us-east-1") == 0
    out = capsys.readouterr().out
    assert out.index("regional") < out.index("1.1/5.5") < out.index("global") < out.index("1/5 ")
    assert "0.11/1.375/2.2" in out
    assert "0.1/1.25/2" in out


def test_show_tells_from_when_on_long_prompts_cost_more(capsys):
    assert run("show", "anthropic.claude-haiku-5-5") == 0
    assert "prompts above 100,000 tokens: 5 times every price (S2)" in capsys.readouterr().out


def test_show_as_json_is_the_rows_as_they_stand(capsys):
    shown = document(capsys, "show", GPT_OSS)
    assert shown["rows"] == [row for row in SHIPPED["rows"] if row["model_id"] == GPT_OSS]
    assert (shown["price_version"], shown["model"]["model_id"]) == (SHIPPED["version"], GPT_OSS)
    assert set(shown["sources"]) == {"S1", "S2"}


@pytest.mark.parametrize(
    "name", [f"global.{HAIKU}", "claude haiku 4.5", f"arn:aws:bedrock:us-east-1:1:inference-profile/us.{HAIKU}"]
)
def test_a_model_may_be_named_by_its_profile_its_arn_or_its_name(name, capsys):
    assert document(capsys, "show", name)["model"]["model_id"] == HAIKU


@pytest.mark.parametrize(("name", "near"), [("anthropic.claude-haiku-4-5", HAIKU), ("gpt-oss-120", GPT_OSS)])
def test_an_unknown_model_ends_with_2_and_names_those_that_are_spelled_alike(name, near, capsys):
    error = document(capsys, "show", name, status=2)["error"]
    assert error["code"] == "unknown_model"
    assert near in error["message"]


def test_a_model_like_no_other_ends_with_2_and_suggests_nothing(capsys):
    assert "the table has 35 models" in document(capsys, "show", "zzz", status=2)["error"]["message"]


def test_a_region_without_a_price_ends_with_2(capsys):
    assert document(capsys, "show", GPT_OSS, "--region", "af-south-1", status=2)["error"]["code"] == "unknown_price"


# ---------------------------------------------------------------------- refresh


def test_offers_that_agree_change_nothing_and_write_a_table_that_names_them(small, tmp_path, capsys):
    out = tmp_path / "new.json"
    shown = document(capsys, "refresh", "--table", small, *sample(tmp_path), "--write", out)
    assert (shown["changes"], shown["unmapped"], shown["refused"]) == ([], [], 0)
    assert shown["mapped"] == 31
    assert shown["written"] == str(out)
    new = read_table(out.read_bytes())
    assert new["version"] == shown["new_version"] != SHIPPED["version"]
    assert new["rows"][0]["effective"]["standard"] == "2026-11-01"


def test_without_a_path_nothing_is_written_and_the_version_is_told(small, tmp_path, capsys):
    assert run("refresh", "--table", small, *sample(tmp_path)) == 0
    said = capsys.readouterr()
    assert "every price that was mapped is as in the table" in said.out
    assert "nothing was written: --write PATH writes version 2026-11-20-" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bedrock.json", "marketplace.json", "small.json"]


def test_a_new_price_is_shown_written_and_paid_by(small, tmp_path, capsys):
    out = tmp_path / "new.json"
    files = sample(tmp_path, nova=dearer(offers.NOVA, "USE1-NovaPro-input-tokens", "0.0009000000"))
    shown = document(capsys, "refresh", "--table", small, *files, "--write", out)
    (change,) = shown["changes"]
    assert (change["path"], change["change"], change["old"], change["new"], change["effective"]) == (
        f"{NOVA_PRO}/us-east-1/regional/input",
        "changed",
        "0.8",
        "0.9",
        "2026-11-01",
    )
    book = PriceBook.from_bytes(out.read_bytes())
    assert book.rates(NOVA_PRO, "us-east-1", "regional", "on_demand").input_pico == 900_000
    assert book.version != load_price_book().version


def test_an_implausible_jump_writes_nothing_until_it_is_named(small, tmp_path, capsys):
    out = tmp_path / "new.json"
    files = sample(tmp_path, nova=dearer(offers.NOVA, "USE1-NovaPro-output-tokens", "3.2000000000"))
    command = ("refresh", "--table", small, *files, "--write", out)
    shown = document(capsys, *command, status=1)
    assert (shown["refused"], shown["written"]) == (1, None)
    assert shown["changes"][0]["refused"] == "1,000 times more"
    assert not out.exists()
    assert run(*command) == 1
    said = capsys.readouterr()
    assert "refused: 1,000 times more" in said.out
    assert "1 change refused: must be accepted by name" in said.err
    accepted = document(capsys, *command, "--accept", f"{NOVA_PRO}/us-east-1/regional/output")
    assert (accepted["refused"], accepted["changes"][0]["accepted"]) == (0, True)
    assert out.exists()


def test_what_is_refused_can_be_kept_while_the_rest_is_written(small, tmp_path, capsys):
    out = tmp_path / "new.json"
    nova = dearer(offers.NOVA, "USE1-NovaPro-output-tokens", "3.2000000000")
    nova = dearer(nova, "USE1-NovaPro-input-tokens", "0.0009000000")
    shown = document(capsys, "refresh", "--table", small, *sample(tmp_path, nova=nova), "--write", out, "--keep")
    assert (shown["refused"], shown["written"]) == (1, str(out))
    rates = PriceBook.from_bytes(out.read_bytes()).rates(NOVA_PRO, "us-east-1", "regional", "on_demand")
    assert (rates.input_pico, rates.output_pico) == (900_000, 3_200_000)


def test_a_row_that_vanished_is_refused(small, tmp_path, capsys):
    claude = [one for one in offers.CLAUDE if "Batch" not in one[0]["usagetype"]]
    shown = document(capsys, "refresh", "--table", small, *sample(tmp_path, claude=claude), status=1)
    assert {change["refused"] for change in shown["changes"]} == {"no longer in the offer"}
    assert len(shown["changes"]) == 4


def test_an_offer_that_was_not_given_takes_no_price_away(small, tmp_path, capsys):
    files = sample(tmp_path)[:2]
    assert document(capsys, "refresh", "--table", small, *files)["changes"] == []


def test_unmapped_products_are_listed_by_name(small, tmp_path, capsys):
    kimi = offers.bedrock("USE1-moonshotai.kimi-k3-mantle-input-tokens-standard", "Kimi K3", "0.0033")
    files = sample(tmp_path, nova=[*offers.NOVA, kimi])
    assert run("refresh", "--table", small, *files) == 0
    said = capsys.readouterr()
    line = next(line for line in said.out.splitlines() if line.startswith("Kimi K3"))
    assert "a model that the table does not name so" in line
    assert "1 product not mapped" in said.err
    assert document(capsys, "refresh", "--table", small, *files)["unmapped"] == [
        {
            "offer": BEDROCK,
            "name": "Kimi K3",
            "why": "a model that the table does not name so",
            "example": "USE1-moonshotai.kimi-k3-mantle-input-tokens-standard",
            "products": 1,
        }
    ]


def test_an_accept_that_names_nothing_is_said(small, tmp_path, capsys):
    assert run("refresh", "--table", small, *sample(tmp_path), "--accept", "nobody.model") == 0
    assert "--accept nobody.model names nothing that is refused" in capsys.readouterr().err


def test_a_file_of_another_kind_ends_with_2_and_one_line(tmp_path, capsys):
    path = tmp_path / "ec2.json"
    path.write_text('{"offerCode": "AmazonEC2", "products": {}, "terms": {"OnDemand": {}}}')
    assert document(capsys, "refresh", "--from", path, status=2)["error"]["code"] == "offers"
    offers.write(path, offers.offer(BEDROCK, offers.OTHERS[2:]))
    assert "not one price" in document(capsys, "refresh", "--from", path, status=2)["error"]["message"]


def test_a_broken_table_ends_with_2_and_says_where(tmp_path, capsys):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(SHIPPED | {"rows": [SHIPPED["rows"][0] | {"input": "-1"}]}))
    shown = document(capsys, "show", HAIKU, "--table", path, status=2)
    assert "input is no price" in shown["error"]["message"]


# ---------------------------------------------------------------------- from the network


@pytest.fixture
def price_list():
    """A price list of our own at AWS's paths: Virginia has both offers, Oregon one."""
    content = {
        f"/offers/v1.0/aws/{BEDROCK}/current/us-east-1/index.json": offers.offer(BEDROCK, offers.NOVA + offers.QWEN),
        f"/offers/v1.0/aws/{MARKETPLACE}/current/us-west-2/index.json": offers.offer(MARKETPLACE, offers.CLAUDE),
    }
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps(content.get(self.path, {})).encode()
            self.send_response(200 if self.path in content else 403)
            if "gzip" in self.headers["Accept-Encoding"]:
                body = gzip.compress(body)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_both_offers_of_every_region_of_the_table_are_read_and_what_is_missing_is_said(small, price_list, capsys):
    url, asked = price_list
    assert run("refresh", "--table", small, "--base-url", url) == 0
    said = capsys.readouterr()
    assert len(asked) == 4
    assert "every price that was mapped is as in the table" in said.out
    assert f"! {BEDROCK} has no file for us-west-2: its prices stay as they are" in said.err


def test_a_price_list_out_of_reach_ends_with_1_and_the_way_around(small, capsys):
    shown = document(capsys, "refresh", "--table", small, "--base-url", "http://127.0.0.1:9", status=1)
    assert "give the file to --from" in shown["error"]["message"]
