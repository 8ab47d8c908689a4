"""The study on a handful of pictures: every part runs, and the numbers are those of what was shown."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm")
pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.heads import HeadConfig, LoadedHead, build_head
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.codes import DepthScenes, build_cache
from onedpiece.training.codes.base import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.optimizer import OptimizerConfig
from onedpiece.weights import load, save
from tools.head_study.coded import COUNTS, best_webp, counts_of
from tools.head_study.dense import dense_scores, draw_answers
from tools.head_study.fit import fit
from tools.head_study.inputs import Material
from tools.head_study.networks import fresh_head, fresh_vit
from tools.head_study.reduced import reduce_in_front, with_keep_ratio
from tools.head_study.report import read_cells, to_csv, to_markdown, write_cells
from tools.head_study.run import Cell, train_codes, train_pixels
from tools.head_study.settings import Settings, read_settings
from tools.head_study.speed import Rate, rates

CONFIG = HeadConfig(classes=("red", "blue"), width=32, layers=1, heads=1)
CONFIGS = Path(__file__).resolve().parents[3] / "configs"


class Colours(Source):
    """Eight plain pictures to train on, four to test on, red or blue."""

    task = "classify"
    name = "colours"
    classes = ("red", "blue")

    def examples(self) -> list[Example]:
        return [
            Example(f"c{at:02d}", TRAIN if at < 8 else TEST, lambda at=at: self._load(at)) for at in range(12)
        ]

    @staticmethod
    def _load(at: int) -> Labelled:
        noise = np.random.default_rng(at).integers(0, 40, (32, 32, 3))
        noise[..., 0 if at % 2 == 0 else 2] += 200
        return Labelled(Image.fromarray(noise.astype(np.uint8)), torch.tensor(at % 2))


@pytest.fixture(scope="module")
def codec(small_config: Callable[..., TokenizerConfig], tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A model in a folder, as `onedpiece train-head` takes it."""
    torch.manual_seed(0)
    config = small_config(num_tokens=256, linear_size=32, fsq_grades=((256, (16, 16, 16)),))
    return load(str(save(Tokenizer(config), tmp_path_factory.mktemp("model"))))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A second of training of a tiny head."""
    (tmp_path / "head.yaml").write_text(
        """
trainer: {accelerator: cpu, devices: 1, precision: bf16-mixed, enable_progress_bar: false}
model:
  schedule: {minutes: 8, warmup: 0.05, min_lr_ratio: 0.01}
  head: {task: classify, width: 32, layers: 1, heads: 1}
  optimizer: {lr: 1.0e-3}
data:
  cache: any
  variants: [plain, flip, crop1]
  batch: 4
"""
    )
    return read_settings(tmp_path / "head.yaml", minutes=0.01)


@pytest.fixture
def material(codec: Codec, tmp_path: Path) -> Material:
    cache = build_cache(tmp_path / "codes.parquet", Colours(), codec, ("plain", "flip", "crop1"))
    return Material(cache, Colours(), codec, tmp_path / "pictures")


def test_webp_keeps_to_its_budget() -> None:
    image = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB")
    small, large = best_webp(image, 80), best_webp(image, 400)
    assert 0 < small.bytes <= 80 < large.bytes <= 400
    errors = [np.square(np.asarray(image, float) - each.pixels).mean() for each in (small, large)]
    assert errors[1] < errors[0]
    assert best_webp(image, 20).bytes == 0  # no WebP file is so small


def test_training_counts_are_mixed_and_fixed() -> None:
    assert counts_of("ours", 50) == counts_of("ours", 50)
    assert set(counts_of("ours", 200)) == set(COUNTS)
    assert min(counts_of("webp", 200)) == 32


def test_our_pictures_are_what_decodes_from_so_many_tokens(material: Material, codec: Codec) -> None:
    example = next(each for each in Colours().examples() if each.split == TEST)
    for count, pictures in material.test_pictures("ours"):
        code = codec.encode(example.load().image, tokens=count)
        np.testing.assert_array_equal(pictures.pixels[0].numpy(), np.asarray(codec.decode(code)))
        assert int(pictures.bytes[0]) == len(code.to_bytes())
        assert pictures.targets.tolist() == [0, 1, 0, 1]
    assert material.code_bytes(8) == 7 + 8 * 12 / 8


def test_pictures_are_made_once(material: Material, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    first = material.training_pictures("ours")
    assert len(first) == 16  # eight photos, plain and as a crop
    monkeypatch.setattr(codec, "decode", lambda code: pytest.fail("decoded again"))
    assert torch.equal(material.training_pictures("ours").pixels, first.pixels)


@pytest.mark.slow
def test_a_head_and_a_network_on_pixels_train_and_are_scored(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    codes = train_codes(material, settings, 1, tmp_path / "run")
    pixels = train_pixels(material, "ours", settings, 1)
    for cells, name in ((codes, "codes"), (pixels, "ours")):
        assert [cell.tokens for cell in cells] == list(COUNTS)
        assert {(cell.input, cell.seed, cell.photos) for cell in cells} == {(name, 1, 4)}
        assert all(cell.steps > 0 for cell in cells)
    assert [cell.bytes for cell in codes] == [cell.bytes for cell in pixels]
    assert (tmp_path / "run" / "head.safetensors").is_file()


@pytest.mark.slow
def test_a_count_that_nothing_fits_has_no_score(material: Material, settings: Settings) -> None:
    cells = train_pixels(material, "webp", settings, 0)
    assert (cells[0].photos, cells[0].top1, cells[0].bytes) == (0, None, 0)
    assert cells[-1].photos == 4


def test_training_learns_and_averages(settings: Settings) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    x, wanted = torch.randn(32, 3), torch.tensor([[1.0], [2.0], [3.0]])

    def loss(network: torch.nn.Module, step: int) -> torch.Tensor:
        missed: torch.Tensor = (network(x).float() - x @ wanted).square().mean()
        return missed

    before = float(loss(net, 0).detach())
    counted = replace(settings.schedule, minutes=None, steps=100)  # minutes say little on a busy machine
    numbers = OptimizerConfig(lr=0.05, weight_decay=0)
    fitted = fit(net, loss, replace(settings, schedule=counted, optimizer=numbers))
    assert fitted.steps == 100
    assert float(loss(fitted.network, 0)) < 0.1 * before


def test_the_shipped_config_is_what_the_study_trains() -> None:
    settings = read_settings(CONFIGS / "head_classify_imagenette.yaml", minutes=2)
    assert (settings.schedule.minutes, settings.schedule.clock) == (2, "processor")
    assert settings.head.task == "classify"


def test_both_networks_have_one_size(codec: Codec) -> None:
    config = HeadConfig(classes=("a", "b"), width=64, layers=2, heads=2)
    head, vit = fresh_head(config, codec, 0), fresh_vit(config, 32, 0)
    blocks = [
        sum(p.numel() for name, p in net.named_parameters() if part in name)
        for net, part in ((head, "transformer."), (vit, "blocks."))
    ]
    assert blocks[0] == blocks[1]


def test_a_reducer_changes_the_time_not_the_weights(material: Material, codec: Codec) -> None:
    head = build_head(CONFIG, codec.tokenizer).eval()
    assert with_keep_ratio(head, 0.5).config.reducer.keep_ratio == 0.5
    whole, half = reduce_in_front(head, material.codes(TEST), (0.5,), 64, batch=4)
    assert (whole.keep_ratio, whole.time) == (1, 1)
    assert (half.keep_ratio, half.tokens) == (0.5, 64)


def test_the_time_of_a_reduced_head_is_a_share_of_the_whole_ones(
    material: Material, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = build_head(CONFIG, codec.tokenizer).eval()
    asked: list[list[str]] = []

    def rates(calls: dict[str, object], batch: int, *_: object) -> list[Rate]:
        asked.append(list(calls))
        return [Rate(name, 1.0, 0.25**at) for at, name in enumerate(calls)]

    monkeypatch.setattr("tools.head_study.reduced.rates", rates)
    rows = reduce_in_front(head, material.codes(TEST), (0.5, 0.25), 64, batch=4)
    assert [len(calls) for calls in asked] == [3], "timed in turns, not one after the other"
    assert [row.time for row in rows] == [1, 0.25, 0.0625]


def test_rates_are_relative_to_the_first() -> None:
    slow, fast = rates(
        {"slow": lambda: torch.randn(400, 400) @ torch.randn(400, 400), "fast": lambda: torch.zeros(1)}, 10, 3
    )
    assert slow.share == 1
    assert fast.share < 1
    assert fast.per_second == pytest.approx(slow.per_second / fast.share)


def test_the_table_has_means_and_deviations(tmp_path: Path) -> None:
    cells = [Cell("codes", seed, 64, 90.0, 500, top1, 100) for seed, top1 in ((0, 0.5), (1, 0.6))]
    cells += [Cell("webp", 0, 64, 0.0, 0, None, 50)]
    write_cells(tmp_path / "a.json", cells)
    assert read_cells(tmp_path) == cells
    # mean 55, deviation sqrt((5² + 5²) / 1) = 7.07
    assert to_markdown(cells).splitlines() == [
        "| top-1 % | steps | 64 (90 B) |",
        "|---|---:|---:|",
        "| head on our tokens | 100 | 55.0 ± 7.1 |",
        "| ViT on WebP pixels | 50 | – |",
    ]
    assert to_csv(cells).splitlines()[:2] == [
        "input,seed,tokens,bytes,photos,top1,steps",
        "codes,0,64,90.0,500,0.5,100",
    ]


def test_dense_heads_are_scored_and_drawn(codec: Codec, tmp_path: Path) -> None:
    source = DepthScenes(1, 2, 32)
    cache = build_cache(tmp_path / "scenes.parquet", source, codec, ("plain",))
    config = HeadConfig(task="depth", width=32, layers=1, heads=1, grid=4)
    head = LoadedHead(build_head(config, codec.tokenizer).eval(), codec.fingerprint, "")
    scores = dense_scores(head, cache, (8, 64))
    assert [(score.name, score.tokens) for score in scores] == [("absrel", 8), ("absrel", 64)]
    drawn = draw_answers(head, source, codec, tmp_path / "drawn", (8,), photos=2)
    assert [path.name for path in drawn] == ["scene00000-008.png", "scene00001-008.png"]
    assert Image.open(io.BytesIO(drawn[0].read_bytes())).width == 32
