"""Reduced ViTs as ONNX: onnxruntime's numbers are torch's, for any number of pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from onedpiece.retokenize import apply
from onedpiece.retokenize.export import export_onnx

Make = Callable[..., nn.Module]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def shallow() -> nn.Module:
    """Two blocks: an exporter takes seconds for each."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
    vit: nn.Module = timm.models.VisionTransformer(**sizes)
    return vit.eval()


REDUCERS: dict[str, dict[str, Any]] = {
    "tome": {"r": 8},
    "mctf": {"r": 8},
    "evit": {"keep_rate": 0.7, "layers": (0,)},
    "imagepiece": {"keep_rate": 0.5, "schedule": ((0, 1),)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REDUCERS)
def test_onnxruntime_gives_the_same(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    vit = apply(shallow(), name, **REDUCERS[name])
    path = export_onnx(vit, tmp_path / "reduced.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3, 20):  # 20: torch runs these in slices
        pictures = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))
        (given,) = session.run(None, {"pictures": pictures.numpy()})
        with torch.no_grad():
            expected = vit(pictures)
        torch.testing.assert_close(torch.from_numpy(given), expected, atol=1e-4, rtol=0)
    assert [each.name for each in tmp_path.iterdir()] == ["reduced.onnx"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:You are using the legacy")
def test_the_older_exporter_is_refused(tmp_path: Path) -> None:
    vit = apply(shallow(), "tome", r=8)
    with pytest.raises(ValueError, match="older ONNX exporter writes other numbers"):
        torch.onnx.export(vit, (torch.randn(1, 3, 64, 64),), tmp_path / "old.onnx", dynamo=False)


def test_what_cannot_be_written_is_named(
    make_vit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"end it in \.onnx"):
        export_onnx(make_vit(), tmp_path / "model.bin")
    monkeypatch.setattr("onedpiece.retokenize.export.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="depends on the picture"):
        export_onnx(apply(make_vit(), "mustdrop"), tmp_path / "model.onnx")
    monkeypatch.setattr("onedpiece.retokenize.export.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="larger than the 2 GB"):
        export_onnx(make_vit(), tmp_path / "model.onnx")
    monkeypatch.setattr("onedpiece.retokenize.export.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"pip install 'onedpiece\[export\]'"):
        export_onnx(make_vit(), tmp_path / "model.onnx")
