"""Mistakes in game modules are found where they are made, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from palestra import Context, Game, Settlement
from palestra.app.build import table
from palestra.cli.setup import check_modules
from palestra.core.errors import SetupError
from palestra.sdk.bounds import Bounds
from palestra.sdk.loader import load_games
from palestra.sdk.runtime import Runtime


async def no_parameters() -> None: ...
async def three(ctx: Context, request: str, more: str) -> None: ...
async def keyword_only(ctx: Context, *, request: str) -> None: ...
async def spread(ctx: Context, *requests: str) -> None: ...
async def untyped(ctx: Context, request) -> None: ...  # type: ignore[no-untyped-def]
async def unreadable(ctx: Context, request: Game) -> None: ...
async def ambiguous(ctx: Context, request: list[int] | set[int]) -> None: ...
async def undefined(ctx: Context, request: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821
def not_async(ctx: Context, request: str) -> None: ...


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (no_parameters, r"it takes \(ctx\) or \(ctx, request\), not \(\)"),
        (three, r"it takes \(ctx\) or \(ctx, request\)"),
        (keyword_only, r"it takes \(ctx\) or \(ctx, request\)"),
        (spread, r"it takes \(ctx\) or \(ctx, request\)"),
        (untyped, "give 'request' a type"),
        (unreadable, "the payload's type cannot be read from JSON"),
        (ambiguous, "the payload's type cannot be read from JSON"),
        (undefined, "a type is not defined"),
        (not_async, "write it as `async def`"),
    ],
)
def test_a_function_of_the_wrong_shape_is_refused_with_its_place(code: Any, told: str) -> None:
    with pytest.raises(SetupError, match=told) as refused:
        Game("wrong").rpc(code)
    assert f"{code.__name__} ({__file__}:" in str(refused.value)


@pytest.mark.parametrize(
    ("declare", "wanted"),
    [
        (lambda game: game.before("storage.write"), r"\(ctx, request\)"),
        (lambda game: game.after("storage.write"), r"\(ctx, response, request\)"),
        (lambda game: game.on_start, r"\(ctx\)"),
        (lambda game: game.on_event, r"\(ctx, event\)"),
        (lambda game: game.on_tournament_end, r"\(ctx, end\)"),
        (lambda game: game.on_tournament_reset, r"\(ctx, reset\)"),
        (lambda game: game.on_leaderboard_reset, r"\(ctx, reset\)"),
        (lambda game: game.settle_round, r"\(ctx, round\)"),
        (lambda game: game.on_purchase, r"\(ctx, purchase\)"),
        (lambda game: game.on_refund, r"\(ctx, refund\)"),
    ],
)
def test_a_hook_of_the_wrong_shape_is_refused(declare: Callable[[Game], Any], wanted: str) -> None:
    for code in (no_parameters, spread):
        with pytest.raises(SetupError, match=f"it takes {wanted}"):
            declare(Game("wrong"))(code)
    with pytest.raises(SetupError, match="write it as `async def`"):
        declare(Game("wrong"))(not_async)


def test_ids_are_told_apart_without_regard_to_case_within_and_between_games() -> None:
    async def claim(ctx: Context) -> None: ...

    one, two = Game("one"), Game("two")
    one.rpc(claim)
    with pytest.raises(SetupError, match="'CLAIM' is already the id of"):
        one.rpc("CLAIM")(claim)
    two.rpc("Claim")(claim)
    runtime = Runtime(Bounds(1))
    with pytest.raises(SetupError, match="'Claim' is already the id of"):
        runtime.check([one, two])
    with pytest.raises(SetupError, match="1 to 128 characters"):
        one.rpc("x" * 129)(claim)


@pytest.mark.parametrize(
    ("operation", "hint"),
    [
        ("storage.wirte", "did you mean 'storage.write'"),
        ("Storage.Write", "did you mean 'storage.write'"),
        ("leaderboard.submit", "did you mean 'leaderboards.submit'"),
        ("qqqq", "`palestra map` lists them"),
        ("rpc.call", "there is no operation"),
    ],
)
def test_a_misspelt_operation_is_told_with_the_nearest_one(operation: str, hint: str) -> None:
    game = Game("wrong")

    @game.before(operation)
    async def hook(ctx: Context, request: Any) -> Any:
        return request

    runtime = Runtime(Bounds(1))
    runtime.table = table()
    with pytest.raises(SetupError, match=hint):
        runtime.check([game])


def test_constraints_of_a_payload_type_are_kept() -> None:
    game = Game("typed")

    @game.rpc
    async def level(ctx: Context, request: Annotated[int, msgspec.Meta(ge=1, le=9)]) -> int:
        return request

    read = game.functions["level"].read
    assert read is not None and read("9") == 9
    with pytest.raises(msgspec.ValidationError):
        read("10")


HEAD = "from palestra import Game\ngame = Game('x')\n"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1\n", "declares no game"),
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        (HEAD + "1 / 0\n", "line 3"),
        (HEAD + "@game.rpc\ndef f(ctx): ...\n", "async def"),
        (HEAD + "@game.before('storage.wirte')\nasync def f(ctx, request): ...\n", "did you mean 'storage.write'"),
        (HEAD + "game.static('/', 'no_such_folder')\n", "no_such_folder"),
    ],
)
def test_check_tells_each_mistake_without_a_database(tmp_path: Path, source: str, told: str) -> None:
    module = tmp_path / "mistaken.py"
    module.write_text(source)
    with pytest.raises(SetupError) as refused:
        check_modules([module])
    assert told in str(refused.value)
    assert "importlib" not in str(refused.value)


def test_check_is_content_with_a_good_module_and_modules_share_what_stands_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared_by_both.py").write_text("class Same: ...\n")
    for name in ("one", "two"):
        source = HEAD.replace("'x'", f"'[{name}]'") + "import shared_by_both\nkind = shared_by_both.Same\n"
        (tmp_path / f"{name}.py").write_text(source)
    assert check_modules([tmp_path / "one.py", tmp_path / "two.py"]) == 0
    assert "[one]: 0 functions, 0 hooks, no mistakes found" in capsys.readouterr().out
    assert sys.modules["palestra_game_one"].kind is sys.modules["palestra_game_two"].kind
    with pytest.raises(SetupError, match="there is no game module"):
        check_modules([tmp_path / "three.py"])


def test_a_game_settles_its_rounds_in_one_way() -> None:
    game = Game("twice")

    async def settle(ctx: Context, round: Any) -> Settlement:
        return Settlement()

    assert game.settle_round(settle) is settle
    with pytest.raises(SetupError, match="settles the rounds of this game already"):
        game.settle_round(settle)


def test_two_games_of_one_name_are_refused() -> None:
    with pytest.raises(SetupError, match="two games are named 'same'"):
        Runtime(Bounds(1)).check([Game("same"), Game("same")])


def test_a_games_version_is_the_hash_of_its_file_and_of_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    alone, with_rules = tmp_path / "alone.py", tmp_path / "with_rules.py"
    alone.write_text("from palestra import Game\ngame = Game('alone')\n")
    with_rules.write_text("import the_rules\nfrom palestra import Game\ngame = Game('with rules')\n")
    (tmp_path / "unused.py").write_text("")
    (tmp_path / "the_rules.py").write_text("sides = 6\n")

    def digest(file: Path) -> str:
        return sha256(file.read_bytes()).hexdigest()

    assert [game.version for game in load_games([alone])] == [digest(alone)]
    lines = "".join(f"{digest(tmp_path / name)}  {name}\n" for name in ("the_rules.py", "with_rules.py"))
    first = load_games([with_rules])[0].version
    assert first == sha256(lines.encode()).hexdigest()
    (tmp_path / "the_rules.py").write_text("sides = 8\n")
    assert load_games([with_rules])[0].version != first
    assert Game("here").version == digest(Path(__file__))
