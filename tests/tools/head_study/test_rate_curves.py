"""The curves on a handful of pictures: both networks run, files are kept, numbers end in table and PNG."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.evaluation.formats import image_format
from onedpiece.heads import ClassLogits, HeadConfig, Task, build_head, save_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.codes import BoxTarget, ClassFolders, DepthScenes, Source, build_cache
from onedpiece.training.codes.cache_file import read_rows
from onedpiece.weights import load, save
from tools.head_study import webp_files
from tools.head_study.coded import Coder, best_webp_file
from tools.head_study.pixel_heads import PixelHead, mirrored
from tools.head_study.rate_curves import Point, curve, read_points, report, table, write_points
from tools.head_study.webp_files import Job, WebpFiles, decoded, training_jobs

HEAD = {
    "width": 32,
    "layers": 1,
    "heads": 1,
    "grid": 4,
    "channels": 8,
    "linear_picture": True,
    "codes": False,
}


@pytest.fixture(scope="module")
def codec(small_config: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """64 tokens on 64×64 pixels, whose files are long enough for WebP to have some."""
    torch.manual_seed(0)
    sizes = {"image_size": 64, "num_tokens": 64, "fsq_grades": ((64, (64, 64)),), "linear_size": 32}
    return load(str(save(Tokenizer(small_config(**sizes)), tmp_path_factory.mktemp("model"))))  # type: ignore[arg-type]


@pytest.fixture
def coder(codec: Codec, tmp_path: Path) -> Coder:
    source = DepthScenes(train=3, test=2, side=64)
    cache = build_cache(tmp_path / "scenes.parquet", source, codec, ("plain",))
    return Coder(codec, {each.key: each for each in source.examples()}, read_rows(cache, "train"))


def test_files_are_made_once_and_more_are_added(
    coder: Coder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webp_files, "PART", 2)
    made: list[int] = []

    def best(image: Image.Image, budget: int) -> bytes:
        made.append(budget)
        return best_webp_file(image, budget)

    monkeypatch.setattr(webp_files, "best_webp_file", best)
    jobs = [Job(row, count) for count in (16, 64) for row in range(3)]
    kept = WebpFiles(tmp_path / "webp", coder, workers=1)
    assert kept.files("train", jobs[:1]).data == kept.files("train", jobs[:1]).data
    assert len(made) == 1
    files = kept.files("train", jobs)
    assert len(made) == 1 + 6  # the part of one file was too short
    assert [len(data) <= budget for data, budget in zip(files.data, files.budgets, strict=True)] == [True] * 6
    assert files.budgets.tolist() == [
        len(coder.codec.encode(coder.picture(j.row))[: j.tokens].to_bytes()) for j in jobs
    ]
    kept.files("train", jobs)
    assert len(made) == 7


def test_rows_are_drawn_so_that_more_begin_with_fewer() -> None:
    many = training_jobs(50, None, 0, (32, 64))
    assert training_jobs(50, 10, 0, (32, 64)) == many[:10]
    assert sorted(job.row for job in many) == list(range(50))
    assert {job.tokens for job in many} == {32, 64}


def test_files_are_shown_at_the_networks_size() -> None:
    red = image_format("webp").encode(Image.new("RGB", (16, 16), (250, 10, 10)), 80)
    shown = decoded([red, b""], 64, 16)
    assert shown.shape == (2, 3, 16, 16)
    torch.testing.assert_close(shown[0, 0], torch.full((16, 16), 250 / 255), atol=0.03, rtol=0)
    torch.testing.assert_close(shown[1], torch.full((3, 16, 16), 128 / 255))


def test_targets_are_mirrored_along() -> None:
    coin = torch.tensor([True, False])
    maps = torch.tensor([[[1, 2]], [[3, 4]]])
    assert mirrored(maps, coin).tolist() == [[[2, 1]], [[3, 4]]]  # type: ignore[union-attr]
    classes = torch.tensor([4, 5])
    assert mirrored(classes, coin) is classes
    boxes = [BoxTarget(torch.tensor([[0.0, 0.0, 0.25, 1.0]]), torch.zeros(1, dtype=torch.int64))] * 2
    first, second = mirrored(boxes, coin)
    assert first.boxes.tolist() == [[0.75, 0.0, 1.0, 1.0]]
    assert second.boxes.tolist() == [[0.0, 0.0, 0.25, 1.0]]


def test_the_network_on_pixels_is_the_heads_own(codec: Codec) -> None:
    """Given the linear picture that the head draws itself, it says what the head says."""
    config = HeadConfig(classes=("a", "b"), **HEAD)  # type: ignore[arg-type]
    torch.manual_seed(0)
    head = build_head(config, codec.tokenizer).eval()
    network = PixelHead(head).eval()
    indices = codec.tokenizer.tokenize(torch.rand(2, 3, 64, 64))
    with torch.inference_mode():
        drawn = head.backbone(head.backbone.codebook(indices)).linear
        assert drawn is not None
        assert drawn.shape[-1] == network.side(64) == 16
        said, expected = network.read(drawn), head(indices)
    assert isinstance(said, ClassLogits)
    assert isinstance(expected, ClassLogits)
    torch.testing.assert_close(said.logits, expected.logits)
    with pytest.raises(ValueError, match="reads code tokens alone"):
        PixelHead(build_head(HeadConfig(classes=("a",)), codec.tokenizer))


def test_code_tokens_are_left_out_on_pixels(codec: Codec) -> None:
    config = HeadConfig(classes=("a", "b"), **(HEAD | {"codes": True}))  # type: ignore[arg-type]
    head = build_head(config, codec.tokenizer)
    network = PixelHead(head)
    assert not network.head.config.codes
    assert torch.equal(network.head.task_head.logits.weight, head.task_head.logits.weight)  # type: ignore[union-attr,arg-type]


def points(task: Task) -> list[Point]:
    tokens = [Point(task, "tokens", k, 1.3 * k + 10, 1.0, 0.1 + k / 1000, 9, 8.0, 100) for k in (8, 64, 256)]
    fits = {8: 0.0, 64: 0.95, 256: 1.0}
    return tokens + [Point(task, "webp", k, 1.2 * k, fits[k], k / 1000, 9, 8.0, 90) for k in (256, 64, 8)]


def test_points_become_a_table(tmp_path: Path) -> None:
    all_points = points("classify") + points("depth")
    write_points(tmp_path / "a.csv", all_points)
    assert read_points(tmp_path / "a.csv") == all_points
    assert [point.tokens for point in curve(all_points, "depth", "webp")] == [64, 256]  # at 8 nothing fits
    assert table(all_points).splitlines()[2:5] == [
        "| Imagenette, top-1 % ↑ | bytes | 20 | 93 | 343 |",
        "|  | head on our tokens | 10.8 | 16.4 | 35.6 |",
        "|  | same network on WebP | – | 6.4 | 25.6 |",
    ]


def test_a_report_is_picture_csv_and_readme(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Heads\n<!-- begin: rate_curves -->\nold\n<!-- end: rate_curves -->\nmore\n")
    report(points("segment"), tmp_path, readme)
    assert Image.open(tmp_path / "rate_curves.png").width > 300
    assert read_points(tmp_path / "rate_curves.csv") == points("segment")
    text = readme.read_text()
    assert "old" not in text
    assert text.startswith("# Heads\n")
    assert text.endswith("more\n")
    assert "(rate_curves.png)" in text
    said = "head on our tokens 8 minutes, 100 steps, same network on WebP 8 minutes, 90 steps"
    assert f"- CamVid: {said}\n" in text


CONFIG = """
trainer: {precision: 32-true}
model:
  schedule: {minutes: 0.01}
  head: {width: 32}
  views: {brightness: 0.2}
  optimizer: {lr: 1.0e-3}
data: {variants: [plain, flip], batch: 4}
"""


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "depth"])
def test_both_curves_from_end_to_end(
    codec: Codec,
    task: Task,
    tmp_path: Path,
    tool: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = DepthScenes(train=8, test=4, side=64) if task == "depth" else _folders(tmp_path / "photos")
    curves = tool("head_curves")
    monkeypatch.setattr(curves, "source", lambda name, shared: photos)
    name = curves.SOURCES[task]
    build_cache(tmp_path / f"{name}.parquet", photos, codec, ("plain", "crop1"))
    config = HeadConfig(task=task, classes=photos.classes, **HEAD)  # type: ignore[arg-type]
    head = save_head(build_head(config, codec.tokenizer), tmp_path / "head.safetensors", codec.fingerprint)
    (tmp_path / "c.yaml").write_text(CONFIG)
    words = [f"--tasks={task}", f"--head={task}={head}", f"--config={task}={tmp_path / 'c.yaml'}"]
    words += [f"--model={codec.name}", f"--caches={tmp_path}", f"--work={tmp_path / 'work'}", "--workers=1"]
    curves.main([*words, f"--out={tmp_path}", "--shared=none", "--pictures=6", "--photos=3"])
    found = read_points(tmp_path / "rate_curves.csv")
    tokens = [point for point in found if point.reads == "tokens"]
    webp = [point for point in found if point.reads == "webp"]
    assert [point.tokens for point in tokens] == [8, 16, 32, 64]
    assert all(point.photos == 3 for point in found)
    assert np.all(np.diff([point.bytes for point in tokens]) > 0)
    assert webp
    for point in webp:
        (ours,) = [each for each in tokens if each.tokens == point.tokens]
        assert point.bytes <= ours.bytes + 1
        assert point.steps > 0
        assert 0 <= point.score < 10
    assert "same network on WebP" in (tmp_path / "README.md").read_text()


def _folders(root: Path) -> Source:
    for split, count in (("train", 4), ("test", 2)):
        for at, name in enumerate(("red", "blue")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng(i).integers(0, 40, (64, 64, 3))
                noise[..., 2 * at] += 200
                Image.fromarray(noise.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return ClassFolders(str(root))


def test_words_name_files_by_task(tool: Callable[[str], ModuleType]) -> None:
    args: Namespace = tool("head_curves").parse(
        ["measure", "--head", "depth=a=b.safetensors", "--tasks", "depth"]
    )
    assert tool("head_curves")._given(args.head) == {"depth": "a=b.safetensors"}
