"""Transformer blocks, and the encoder and the decoder that are made of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.pixel_heads import LinearHead, PatchHead, VQGANHead, is_plain_inference


class _MetaParameters(TorchFunctionMode):
    """Put what layers allocate for their parameters, by `torch.empty`, on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


@contextmanager
def no_init_weights() -> Iterator[None]:
    """Build modules inside whose parameters take no memory and no time, for `load_state_dict(assign=True)`.

    Parameters are on the meta device. Buffers are real, in float32 and on the CPU, whatever the default dtype
    and device are: those that no state dict holds (tables, bases) need no second step. The default dtype,
    device and random generator are afterwards what they were before.
    """
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), _MetaParameters():
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default)


def assign_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module that was built under `no_init_weights` its weights, strictly, as float32.

    Args:
        module: what to fill.
        state: by name, of any float type; float32 tensors are taken over, not copied.

    Raises:
        RuntimeError: names are missing or unknown, or a shape differs.
    """
    wide = {name: each.float() if each.is_floating_point() else each for name, each in state.items()}
    module.load_state_dict(wide, strict=True, assign=True)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Return x (…, in) times weight (out, in) plus bias (out,), then its GELU where asked: (…, out).

    Inference in float32 on a CPU asks whichever of torch's libraries is fast there, both as exact. Only this
    call is affected, none of torch's settings. All else is `F.linear`.
    """
    plain = is_plain_inference(x, weight)
    if plain and prefers_onednn():
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else ""
        )
        return out
    out = F.linear(x, weight, bias)
    if not gelu:
        return out
    # In its place: memory that is new to the process costs a tenth of a decode to map.
    return torch.ops.aten.gelu_(out) if plain else F.gelu(out)


@cache
def prefers_onednn() -> bool:
    """Whether oneDNN multiplies float32 faster here than torch's own choice, MKL.

    Measured on AMD's processors: twice as fast with AVX-512, which MKL does not use there; with AVX2 alone a
    tenth slower, and with the GELU a third.
    """
    available = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return available and torch.backends.cpu.get_cpu_capability() == "AVX512"


class Attention(nn.Module):
    """Multi-head self-attention with one packed projection, and an optional mask over keys.

    Args:
        width: channels.
        heads: attention heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(truncated_normal(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, T, W).
            key_mask: (B, T) bool, False where a token must not be looked at; None: all may.
            queries: how many of the first tokens attend; None: all T.

        Returns:
            (B, queries, W).
        """
        packed = dense(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (self._split(part) for part in packed.chunk(3, dim=-1))
        q = q[:, :, :queries]
        mask = None if key_mask is None else key_mask[:, None, None, :]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return dense(x.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, W) to (B, heads, T, W / heads)."""
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers around a GELU of `hidden` channels, by default four times `width`."""

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, W) to (…, W)."""
        hidden = dense(x, self.c_fc.weight, self.c_fc.bias, gelu=True)
        return dense(hidden, self.c_proj.weight, self.c_proj.bias)


class Block(nn.Module):
    """One pre-norm transformer block: attention, then MLP, each added to its input."""

    def __init__(self, width: int, heads: int, hidden: int | None = None) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Map (B, T, W) to (B, queries, W); arguments as in `Attention`.

        The last block of a stack need not compute tokens that nobody reads.
        """
        x = x[:, :queries] + self.attn(self.ln_1(x), key_mask, queries)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


def build_blocks(width: int, heads: int, layers: int, hidden: int | None = None) -> nn.ModuleList:
    """Return `layers` blocks, `hidden` as in `MLP`; weights drawn from a normal with a deviation of 0.02.

    A residual branch's last layer is drawn smaller by sqrt(2·layers), so that the stream's variance
    does not grow with depth (GPT-2's rule).
    """
    blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
    for name, parameter in blocks.named_parameters():
        if parameter.ndim == 2:
            last = name.endswith(("out_proj.weight", "c_proj.weight"))
            truncated_normal_(parameter, 0.02 / (2 * layers) ** 0.5 if last else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return blocks


@torch.no_grad()
def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill a tensor from a normal cut at two deviations (ViT's initialisation), and return it.

    By the inverse of its distribution function, in three passes: torch's own rejects and draws again.
    """
    if tensor.is_meta:  # under `no_init_weights`; torch would import its compiler to draw nothing
        return tensor
    edge = math.erf(2 / math.sqrt(2))
    return tensor.uniform_(-edge, edge).erfinv_().mul_(std * math.sqrt(2))


def truncated_normal(*shape: int) -> Tensor:
    """Return a tensor of `shape` filled by `truncated_normal_`."""
    return truncated_normal_(torch.empty(*shape))


class Encoder(nn.Module):
    """A ViT over [class, patches, latents] of which only the latents are kept.

    With `config.linear_path` its output is a *residual* on the linear coefficients: the last layer starts
    at zero, and the latents see the coefficients they are about to correct.

    With `config.released_latent_layout` the latents (B, N, W) are read as (B, W, N) *without* a transpose
    before the last projection, as the published code does: "token" n is then a mix of channels of all
    latents. The released weights need it; nothing else should.

    Source: One-D-Piece (arXiv 2501.10064) §3, after TiTok (arXiv 2406.07550).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.released_latent_layout = config.released_latent_layout
        width, patches = config.width, config.grid**2
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.class_embedding = nn.Parameter(truncated_normal(1, width))
        self.positional_embedding = nn.Parameter(truncated_normal(patches + 1, width))
        self.latent_token_positional_embedding = nn.Parameter(truncated_normal(config.num_tokens, width))
        self.linear_embed = nn.Linear(config.code_dim, width) if config.linear_path else None
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = build_blocks(width, config.heads, config.encoder_layers)
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, config.code_dim, 1)
        if config.linear_path:
            nn.init.zeros_(self.conv_out.weight)
            assert self.conv_out.bias is not None
            nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor, latent_tokens: Tensor, linear: Tensor | None = None) -> Tensor:
        """Encode.

        Args:
            x: (B, 3, H, W) in [0, 1], H = W = `image_size`.
            latent_tokens: (N, width), the learned queries.
            linear: (B, N, code_dim), the linear path's coefficients; None without a linear path.

        Returns:
            (B, N, code_dim), unbounded.
        """
        batch = x.shape[0]
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(batch, -1, -1), patches], dim=1)
        tokens = tokens + self.positional_embedding
        latents = (latent_tokens + self.latent_token_positional_embedding).expand(batch, -1, -1)
        if self.linear_embed is not None:
            latents = latents + self.linear_embed(linear)
        hidden = self.ln_pre(torch.cat([tokens, latents], dim=1))
        for block in self.transformer:
            hidden = block(hidden)
        return self._project(self.ln_post(hidden[:, tokens.shape[1] :]))

    def _project(self, latents: Tensor) -> Tensor:
        batch, count, width = latents.shape
        if self.released_latent_layout:
            columns = latents.reshape(batch, width, count, 1)
        else:
            columns = latents.transpose(1, 2).unsqueeze(-1)
        out: Tensor = self.conv_out(columns).squeeze(-1).transpose(1, 2)
        return out


_HEADS: dict[str, type[PatchHead | LinearHead | VQGANHead]] = {
    "patch": PatchHead,
    "shuffle": PatchHead,
    "linear": LinearHead,
    "vqgan": VQGANHead,
}


class Decoder(nn.Module):
    """A ViT over [class, mask tokens, latents] whose mask tokens become the picture.

    The latents that were dropped are absent, not masked out by a learned vector: `k` codes make a sequence
    of 1 + patches + k tokens. With `config.linear_path` each mask token also sees its patch of the linear
    picture, and the head's output is a residual on that picture.

    Source: One-D-Piece (arXiv 2501.10064) §3, after TiTok (arXiv 2406.07550).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width, patches = config.width, config.grid**2
        self.grid = config.grid
        self.decoder_embed = nn.Linear(config.code_dim, width)
        self.class_embedding = nn.Parameter(truncated_normal(1, width))
        self.positional_embedding = nn.Parameter(truncated_normal(patches + 1, width))
        self.mask_token = nn.Parameter(truncated_normal(1, 1, width))
        self.latent_token_positional_embedding = nn.Parameter(truncated_normal(config.num_tokens, width))
        self.linear_embed = self._linear_embed(config) if config.linear_path else None
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = build_blocks(width, config.heads, config.decoder_layers, config.decoder_hidden)
        self.ln_post = nn.LayerNorm(width)
        self.head = _HEADS[config.pixel_head](config)

    @staticmethod
    def _linear_embed(config: TokenizerConfig) -> nn.Conv2d:
        patch = config.linear_size // config.grid
        return nn.Conv2d(3, config.width, patch, patch)

    def forward(self, codes: Tensor, mask: Tensor | None = None, linear: Tensor | None = None) -> Tensor:
        """Return (B, 3, H, W), unbounded: the picture, or with a linear path what to add to it.

        Arguments are those of `features`.
        """
        out: Tensor = self.head(self.features(codes, mask, linear))
        return out

    def features(self, codes: Tensor, mask: Tensor | None = None, linear: Tensor | None = None) -> Tensor:
        """Decode up to the head.

        Args:
            codes: (B, k, code_dim), 1 <= k <= N.
            mask: (B, k) bool, False for codes past a sample's length; None: all are there.
            linear: (B, 3, linear_size, linear_size), the linear picture; None without a linear path.

        Returns:
            (B, W, grid, grid), of the patches.
        """
        batch, count, _ = codes.shape
        latents = self.decoder_embed(codes) + self.latent_token_positional_embedding[:count]
        masks = self.mask_token.expand(batch, self.grid**2, -1)
        if self.linear_embed is not None:
            masks = masks + self.linear_embed(linear).flatten(2).transpose(1, 2)
        image_tokens = torch.cat([self.class_embedding.expand(batch, -1, -1), masks], dim=1)
        image_tokens = image_tokens + self.positional_embedding
        hidden = self.ln_pre(torch.cat([image_tokens, latents], dim=1))
        key_mask = None if mask is None else self._key_mask(mask, image_tokens.shape[1])
        *blocks, last = self.transformer
        for block in blocks:
            hidden = block(hidden, key_mask)
        features = self.ln_post(last(hidden, key_mask, image_tokens.shape[1])[:, 1:])
        out: Tensor = features.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return out

    @staticmethod
    def _key_mask(mask: Tensor, image_tokens: int) -> Tensor:
        seen = mask.new_ones(mask.shape[0], image_tokens)
        return torch.cat([seen, mask], dim=1)
