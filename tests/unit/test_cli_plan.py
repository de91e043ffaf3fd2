"""`slackwater plan` on the command line: it asks nobody, prints one document, and ends in one clear line."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from slackwater.model.clock import iso
from slackwater.model.profile import load_profiles
from slackwater.policy.canary import Asked, Canary
from slackwater.policy.learned import Ratios
from slackwater.policy.quota import Pool
from slackwater.usecases.forecasts import Priors
from slackwater.usecases.planner import Stack
from slackwater_cli import connection, main, plan_stack, planning
from tests.unit.rig import START

ALIKE = ["--jobs", "1000", "--input-tokens", "900", "--output-tokens", "200"]
NOVA = ["--model", "amazon.nova-lite-v1:0"]
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """A folder of our own; whoever asks AWS fails."""

    def nobody(*_):
        raise AssertionError("a plan without --stack asks nobody")

    monkeypatch.setattr(connection, "connect", nobody)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def questions(tmp_path):
    body = "".join(
        json.dumps({"id": f"q{n}", "messages": [{"role": "user", "content": [{"text": f"Question {n}"}]}],
                    "inferenceConfig": {"maxTokens": 50}}) + "\n"
        for n in range(300)
    )  # fmt: skip
    (tmp_path / "questions.jsonl").write_text(body + "{broken\n")
    return "questions.jsonl"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run(list(arguments))
    return ended.value.code or 0


def document(capsys, *arguments: str) -> dict:
    assert run("plan", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_files_plan_has_all_its_fields(questions, capsys):
    said = document(capsys, questions, "--deadline", "24h")
    assert (said["lines"], said["refused_lines"], said["jobs"]) == (301, 1, 300)
    assert said["lanes"]["batch"]["jobs"] == 300
    assert set(said["baselines"]) == {"home_on_demand_usd", "home_batch_usd", "article_usd", "article_claim"}
    assert said["baselines"]["article_usd"] == pytest.approx(0.4 * said["baselines"]["home_on_demand_usd"])
    assert 0 < said["cost_usd"] < said["baselines"]["home_batch_usd"]
    assert said["token_method"] == "estimated"
    assert said["planned_at"] < said["expected_finish"] < said["deadline"]
    assert said["refused"] == [
        {"line": 301, "code": "refused", "message": "the line is no valid JSON", "pointer": None}
    ]
    assert any(risk.startswith("no stack was asked") for risk in said["risks"])


def test_people_see_the_baselines_and_whose_claim_is_whose(questions, capsys):
    assert run("plan", questions) == 0
    shown = capsys.readouterr().out
    for words in ("all on demand at home", "all by batch at home", "the article's claim: 60 % off", "line 301"):
        assert words in shown


def test_a_file_may_come_by_standard_input(questions, capsys, monkeypatch, tmp_path):
    body = (tmp_path / questions).read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(body)))
    assert document(capsys, "-")["jobs"] == 300


def test_the_calculator_finds_a_models_cheapest_way(capsys):
    said = document(capsys, *NOVA, *ALIKE, "--home", "eu-central-1", "--deadline", "12h")
    assert said["token_method"] == "given"
    assert (said["input_tokens"], said["output_tokens"], said["lines"]) == (900_000, 200_000, 1_000)
    assert said["cost_usd"] < said["baselines"]["home_batch_usd"] < said["baselines"]["home_on_demand_usd"]


@pytest.mark.parametrize("what", [["questions.jsonl"], ["--profile", "default", *ALIKE]])
def test_a_lane_can_be_asked_for(what, questions, capsys):
    said = document(capsys, *what, "--lane", "on_demand")
    assert said["lanes"]["on_demand"]["jobs"] == said["jobs"] > 0


def test_the_calculator_takes_a_profile_of_a_file_of_ones_own(capsys, tmp_path):
    own = {"model": HAIKU, "home_region": "eu-west-1", "residency": "eu", "lanes": ["on_demand"], "routes": "auto"}
    (tmp_path / "own.json").write_text(json.dumps({"v": 1, "profiles": {"own": own}}))
    said = document(capsys, "--profile", "own", "--profiles", "own.json", *ALIKE)
    assert said["lanes"]["on_demand"]["jobs"] == 1_000


def test_history_of_a_run_is_used_saved_and_read_again(questions, capsys, tmp_path):
    usage = {"input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 0, "cache_write_tokens": 0}
    row = json.dumps({"run_id": "r1", "status": "succeeded", "model": HAIKU, "usage": usage}) + "\n"
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "results.jsonl").write_text(row * 100)
    reckoned = {"default": {"jobs": 100, "input_tokens": 1_400, "max_output_tokens": 5_000}}
    (answers / "receipt.json").write_text(json.dumps({"run_id": "r1", "reckoned": reckoned}))
    told = document(capsys, questions, "--history", "answers", "--save-history", "kept.json")
    assert (told["token_method"], told["output_tokens"]) == ("history", 900)
    again = document(capsys, questions, "--history", "kept.json")
    assert [again[name] for name in ("tokens", "cost_usd")] == [told[name] for name in ("tokens", "cost_usd")]
    assert "Question" not in (tmp_path / "kept.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a file, or give --model, --jobs"),
        (["--jobs", "5"], "give --input-tokens, --output-tokens"),
        (["questions.jsonl", "--jobs", "5"], "--jobs is for a plan without a file"),
        ([*NOVA, "--profile", "default", *ALIKE], "--model or --profile"),
        ([*NOVA, "--jobs", "-5", *ALIKE[2:]], "--jobs: -5 is not possible: give a whole number from 1"),
        ([*NOVA, *ALIKE[:2], "--input-tokens", "-1", *ALIKE[4:]], "--input-tokens: -1 is not possible"),
        (["--model", "gpt-9", *ALIKE], "--model: 'gpt-9' is not possible; allowed is a model of the price table"),
        (["--model", "", *ALIKE], "--model: give the id of a model"),
        ([*NOVA, *ALIKE, "--home", "mars"], "--home: 'mars' is no AWS region"),
        ([*NOVA, *ALIKE, "--deadline", "soon"], "--deadline: the deadline cannot be read"),
        (["questions.jsonl", "--deadline", "2001-01-01T00:00:00Z"], "--deadline: "),
        (["questions.jsonl", "--profile", "nobody"], "no profile nobody; there are"),
        (["questions.jsonl", "--profiles", "gone.json"], "--profiles gone.json: No such file"),
        (["questions.jsonl", "--profiles", "questions.jsonl"], "profiles.json: "),
        (["questions.jsonl", "--history", "gone"], "--history gone: "),
        (["questions.jsonl", "--history", "questions.jsonl"], "line 1 is no result row"),
        (["questions.jsonl", "--history", "odd.json"], "odd.json is not JSON"),
        (["questions.jsonl", "--request-type", "telepathy"], "--request-type: must be one of"),
        (["questions.jsonl", "--lane", "fast"], "--lane: must be one of on_demand, flex, batch"),
        ([*NOVA, *ALIKE, "--lane", "fast"], "--lane: must be one of on_demand, flex, batch"),
        (["questions.jsonl", "--history", "questions.json", "--save-history", "no/where.json"], "--save-history no"),
        (["."], "there is no file ."),
        (["gone.jsonl"], "there is no file gone.jsonl"),
        (["empty.jsonl"], "the file has no line"),
        (["prose.txt"], "the first is line 1: the line is no valid JSON"),
    ],
)
def test_bad_input_ends_with_2_and_one_line_that_says_what_to_mend(arguments, words, questions, capsys, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "prose.txt").write_text("Once upon a time\nthere was a file.\n")
    (tmp_path / "odd.json").write_text("{")
    (tmp_path / "questions.json").write_text('{"v": 1, "history": []}')
    assert run("plan", *arguments, "--json") == 2
    out, err = capsys.readouterr()
    assert words in json.loads(out)["error"]["message"]
    assert words in err
    assert "Traceback" not in err


def test_a_named_stack_is_asked_for_profiles_regions_and_what_it_learned(questions, capsys, monkeypatch):
    pool = Pool(input_ratio=0.5, output_ratio=0.1, answers=500)
    told = plan_stack.Told(
        profiles=load_profiles(),
        stack=Stack(("us-east-1",), batch_enabled=True, drain_jobs_per_s=5.0),
        learned=plan_stack.ratios_of([(f"us-west-2|global|{HAIKU}", pool)]),
        forecasts=Priors(),
        drains=None,
        canaries=lambda shape: Asked(Canary.PASSED),
        now=START,
    )
    monkeypatch.setattr(connection, "connect", lambda screen, stack: stack)
    monkeypatch.setattr(plan_stack, "told_by", lambda stack, *_: {"mine": told}[stack])
    said = document(capsys, questions, "--stack", "mine")
    assert said["planned_at"] == iso(START)
    assert said["ways"][0]["regions"] == ["us-east-1"]
    assert (said["token_method"], said["output_tokens"]) == ("history", 300 * 50 // 10)
    assert not any("no stack" in risk for risk in said["risks"])


def test_what_a_stack_learned_of_a_model_counts_by_answers():
    pools = [
        (f"us-west-2|global|{HAIKU}", Pool(input_ratio=0.5, output_ratio=0.1, answers=300)),
        (f"us-east-1|global|{HAIKU}", Pool(input_ratio=0.9, output_ratio=0.5, answers=100)),
        ("us-east-1|on_demand|amazon.nova-lite-v1:0", Pool()),
    ]
    learned = plan_stack.ratios_of(pools)
    assert learned.ratios(HAIKU) == Ratios(pytest.approx(0.6), pytest.approx(0.2), 400)
    assert learned.ratios("amazon.nova-lite-v1:0") is None


def test_the_calculators_own_profile_is_never_named_to_the_caller(capsys):
    assert run("plan", "--model", "gpt-9", *ALIKE) == 2
    assert planning.CALCULATED not in capsys.readouterr().err
