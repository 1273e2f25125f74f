"""Recipes: the hash covers every field and stays what it is; labels and refusals say what was asked for."""

import hashlib
import json
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path

import pytest

from benchmark import datasheets
from benchmark.channels.judge import EvaluationRecipe
from benchmark.channels.rules import ChannelRecipe
from benchmark.errors import UsageError
from benchmark.recipe import Recipe, SearchRecipe, later

RESULTS = Path(__file__).parent.parent / "results"

# Another valid value for each field.
CHANGED = {
    "dataset": "synthetic",
    "epochs": 99,
    "batch_size": 128,
    "lr": 0.05,
    "momentum": 0.8,
    "weight_decay": 5e-4,
    "train_images": 1024,
    "eval_images": 1024,
    "precision": "fp32",
    "memory_layout": "contiguous",
    "threads": 3,
    "milestones": "0.5,0.75",
    "side": 16,
    "split_seed": 1,
    "bn": "batch",
    "calibration_images": 512,
    "curve_images": 0,
}
BOTH = pytest.mark.parametrize("kind", [Recipe, SearchRecipe])


def changes(kind):
    return {field.name: CHANGED[field.name] for field in fields(kind) if field.name != "gamma"}  # of milestones only


def refusal(call, *args, **kwargs):
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "preset", "pinned"),
    [
        (Recipe, "paper", "426c04f7cf0d"),
        (Recipe, "smoke", "707f37a5c6fe"),
        (SearchRecipe, "paper", "a77b7fdf4f05"),
        (SearchRecipe, "smoke", "d61583d9829d"),
    ],
)
def test_hashes_of_the_presets_never_drift(kind, preset, pinned):
    # Results are kept under these. Where a preset must change, so must this line, knowingly.
    assert kind.preset(preset).hash == pinned


def test_hash_is_sha256_of_the_fields_as_json():
    smoke = {
        "kind": "Recipe",
        "dataset": "cifar10",
        "epochs": 2,
        "batch_size": 256,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.001,
        "train_images": 512,
        "eval_images": 512,
        "precision": "bf16",
        "memory_layout": "channels_last",
        "threads": 1,
    }
    assert Recipe.preset("smoke").hash == hashlib.sha256(json.dumps(smoke, sort_keys=True).encode()).hexdigest()[:12]


def test_paper_is_the_specification():
    paper = Recipe.preset("paper")
    assert paper == Recipe()
    assert (paper.epochs, paper.batch_size, paper.lr, paper.momentum, paper.weight_decay) == (100, 256, 0.1, 0.9, 1e-3)
    assert paper.train_images is None
    assert paper.eval_images is None
    search = SearchRecipe.preset("paper")
    assert (search.epochs, search.batch_size, search.lr, search.weight_decay) == (100, 256, 0.1, 1e-3)
    assert search.bn == "calibrated"


@BOTH
@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_every_field_changes_the_hash(kind, preset):
    base = kind.preset(preset)
    hashes = [kind.preset(preset, **{name: value}).hash for name, value in changes(kind).items()]
    assert len({base.hash, *hashes}) == 1 + len(hashes)


def test_the_two_kinds_never_share_a_hash():
    assert Recipe().hash != SearchRecipe().hash
    assert Recipe(threads=2).hash != SearchRecipe().hash


def test_equal_recipes_have_equal_hashes():
    # A caller may write 1 for 1.0; a ledger's folder must not depend on that.
    assert Recipe(lr=1, momentum=0, weight_decay=0) == Recipe(lr=1.0, momentum=0.0, weight_decay=0.0)
    assert Recipe(lr=1, momentum=0, weight_decay=0).hash == Recipe(lr=1.0, momentum=0.0, weight_decay=0.0).hash


@BOTH
def test_overrides_replace_one_field(kind):
    base = kind.preset("smoke")
    for name, value in changes(kind).items():
        recipe = kind.preset("smoke", **{name: value})
        assert recipe.to_dict() == base.to_dict() | {name: value}
        assert replace(base, **{name: value}) == recipe
    assert base == kind.preset("smoke")


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        (Recipe(), "paper"),
        (Recipe(epochs=10), "paper-epochs10"),
        (Recipe(epochs=10, lr=0.05), "paper-epochs10-lr0.05"),
        (Recipe.preset("smoke"), "smoke"),
        (Recipe.preset("smoke", batch_size=16), "smoke-batchsize16"),
        (Recipe(epochs=2, train_images=512), "smoke-evalimagesNone"),
        # the data set stands in a table's name already
        (Recipe(dataset="synthetic"), "paper"),
        (SearchRecipe(bn="batch"), "paper-bnbatch"),
        (SearchRecipe.preset("smoke", split_seed=3), "smoke-splitseed3"),
    ],
)
def test_labels_name_the_preset_and_what_differs(recipe, label):
    assert recipe.label == label


@BOTH
def test_a_field_that_is_not_there_and_a_value_without_a_name_are_refused(kind):
    with pytest.raises(UsageError, match="no field 'seed': its fields are batch_size, "):
        kind(seed=1)
    with pytest.raises(UsageError, match="no field 'epoch': did you mean epochs"):
        replace(kind(), epoch=1)
    with pytest.raises(UsageError, match=f"5 has no name: write {kind.__name__}"):
        kind(5)
    assert pickle.loads(pickle.dumps(kind(epochs=7))) == kind(epochs=7)  # as workers get it


@pytest.mark.parametrize("stated", [5, ["epochs"], {"warmup": 3}])
def test_what_states_no_recipe_of_this_version_is_refused(stated):
    with pytest.raises(UsageError, match="this version has no recipe of the fields that are stated"):
        Recipe.stated(stated, "0" * 12)


def test_recipes_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3


@pytest.mark.parametrize("name", ["", "fast", "Paper", "PRESETS"])
def test_unknown_presets_are_refused_with_the_list(name):
    message = refusal(Recipe.preset, name)
    assert f"'{name}'" in message
    assert "paper, smoke" in message


@pytest.mark.parametrize("name", ["epoch", "bn", "hash", "PRESETS"])
def test_unknown_fields_are_refused_with_the_list(name):
    message = refusal(Recipe.preset, "paper", **{name: 1})
    assert f"'{name}'" in message
    assert "weight_decay" in message


@pytest.mark.parametrize("field", ["epochs", "batch_size", "threads", "train_images", "eval_images"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", True])
def test_counts_are_whole_numbers_of_1_or_more(field, value):
    assert field in refusal(Recipe, **{field: value})


def test_a_batch_has_two_images_or_more():
    assert "batch_size" in refusal(Recipe, batch_size=1)
    assert Recipe(batch_size=2).batch_size == 2


@pytest.mark.parametrize("field", ["lr", "momentum", "weight_decay"])
@pytest.mark.parametrize("value", [-1e-9, 1e9, float("nan"), float("inf"), "0.1", None])
def test_rates_lie_in_their_range(field, value):
    assert field in refusal(Recipe, **{field: value})


def test_rates_may_be_zero_but_momentum_stays_below_one():
    assert Recipe(lr=0.0, momentum=0.0, weight_decay=0.0).lr == 0.0
    assert "momentum" in refusal(Recipe, momentum=1.0)


@pytest.mark.parametrize("field", ["dataset", "precision", "memory_layout"])
@pytest.mark.parametrize("value", ["", "fp16", "CIFAR10", None])
def test_choices_are_listed_where_the_value_is_none_of_them(field, value):
    choices = {
        "dataset": ", ".join(datasheets.names()),
        "precision": "bf16, fp32",
        "memory_layout": "channels_last, contiguous",
    }
    message = refusal(Recipe, **{field: value})
    assert message.startswith(f"{field} is '{value}'")
    assert choices[field] in message


def test_search_recipes_refuse_their_own_fields_too():
    assert "calibration_images" in refusal(SearchRecipe, calibration_images=1)
    assert "curve_images" in refusal(SearchRecipe, curve_images=-1)
    assert "calibrated, batch" in refusal(SearchRecipe, bn="running")
    assert "epochs" in refusal(SearchRecipe, epochs=0)


def test_more_threads_than_any_machine_has_are_refused_in_our_own_words():
    with pytest.raises(UsageError, match="threads is 20000: it must be a whole number from 1 to 1024"):
        Recipe(threads=20000)
    assert Recipe(threads=1024).threads == 1024


def kept():
    """Every recipe that a result of this repository states, with its hash: (kind, fields, hash)."""
    found = {}
    for path in sorted(RESULTS.rglob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        for place in (said, said.get("provenance")) if isinstance(said, dict) else ():
            if isinstance(place, dict) and isinstance(place.get("recipe"), dict) and place.get("recipe_hash"):
                own = {"split_seed": SearchRecipe, "trials": ChannelRecipe, "every": EvaluationRecipe}
                kind = next((kind for field, kind in own.items() if field in place["recipe"]), Recipe)
                found[kind, place["recipe_hash"]] = place["recipe"]
    return [(kind, stated, digest) for (kind, digest), stated in found.items()]


def grown(kind):
    """A kind of recipe of the future, under its old name: two fields more, with a default and with choices."""
    made = type(
        kind.__name__,
        (kind,),
        {
            "__annotations__": {"schedule": str, "warm_up": int},
            "schedule": later("cosine", values=lambda: ("cosine", "steps")),
            "warm_up": later(0),
        },
    )
    return dataclass(frozen=True, kw_only=True)(made)


def test_recipes_of_kept_results_have_their_hashes_and_keep_them_when_fields_are_added():
    recipes = kept()
    assert {kind for kind, _, _ in recipes} == {Recipe, SearchRecipe, ChannelRecipe, EvaluationRecipe}
    for kind, stated, digest in recipes:
        assert kind.stated(stated, digest).to_dict() == stated
        later_on = grown(kind).stated(stated, digest)
        assert (later_on.hash, later_on.to_dict(), later_on.schedule) == (digest, stated, "cosine")
        assert later_on.label == kind.stated(stated, digest).label


@BOTH
def test_a_field_that_is_added_counts_where_it_says_something_new(kind):
    more = grown(kind)
    recipe = more(schedule="steps")
    assert recipe.to_dict() == kind().to_dict() | {"schedule": "steps"}
    assert len({kind().hash, recipe.hash, more(warm_up=5).hash, more(schedule="steps", warm_up=5).hash}) == 4
    assert more.stated(recipe.to_dict(), recipe.hash) == recipe
    assert recipe.label == "paper-schedulesteps"
    assert "cosine, steps" in refusal(more, schedule="linear")


def test_milestones_are_rising_shares_of_the_training():
    assert Recipe().drops == ()
    assert Recipe(milestones="0.24,0.48,0.64", gamma=0.2).drops == (0.24, 0.48, 0.64)
    for text in ("0.5,0.5", "0.75,0.5", "0,0.5", "0.5,1", "200,300", "0.5;0.7", "nan", ",", "0.5,", 0.5):
        assert f"milestones is '{text}'" in refusal(Recipe, milestones=text)
    assert "gamma is 2" in refusal(Recipe, milestones="0.5", gamma=2)
    assert "no milestones for it" in refusal(Recipe, gamma=0.2)
    assert len({Recipe(milestones="0.5", gamma=g).hash for g in (0.1, 0.2)}) == 2
    assert Recipe(milestones="0.5").to_dict() == Recipe().to_dict() | {
        "milestones": "0.5"
    }  # gamma is what it is by default
    assert "side is 0" in refusal(Recipe, side=0)


@pytest.mark.parametrize("field", ["epochs", "batch_size", "threads", "calibration_images", "curve_images"])
@pytest.mark.parametrize("value", [None, "4", 2.0, True])
def test_a_count_that_is_no_whole_number_is_refused_whatever_it_is(field, value):
    with pytest.raises(UsageError, match=f"{field} is {value}: "):
        SearchRecipe(**{field: value})
