"""MCTF's operator against the authors' code, and against arithmetic done by hand."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onedpiece.retokenize import mctf

CASES = ["paper", "paper_sized", "ratio", "one_way", "size_pool", "floor"]
POOLING = {"attention_x_size": "attention", "size": "size"}


@pytest.mark.parametrize("case", CASES)
def test_matches_the_authors_code(data: Path, case: str) -> None:
    vectors = load_file(data / "mctf_ops.safetensors")
    options = json.loads((data / "mctf_ops.json").read_text())[case]
    tokens_in, tokens_out = options.pop("tokens_in"), options.pop("tokens_out")
    options["pooling"] = POOLING[options["pooling"]]
    x = vectors[f"{case}.x"]
    assert x.shape[1] == tokens_in
    fused = mctf.fuse(x, vectors[f"{case}.attn"], vectors.get(f"{case}.size"), **options)
    assert fused.x.shape[1] == tokens_out
    torch.testing.assert_close(fused.x, vectors[f"{case}.y"], atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.attn, vectors[f"{case}.attn_out"], atol=1e-5, rtol=0)
    assert torch.equal(fused.size, vectors[f"{case}.size_out"])
    assert torch.equal(fused.source, vectors[f"{case}.source"])
