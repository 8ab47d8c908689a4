"""What a tokenizer is made of: one frozen dataclass, and the presets by name."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal, Self

RANGE_SLACK = 1e-3
"""By how much a pixel may lie outside [0, 1]: what resampling leaves; it is clipped."""

Grade = tuple[int, tuple[int, ...]]
"""(number of consecutive tokens, FSQ levels of each of them)."""

GRADED_FSQ: tuple[Grade, ...] = (
    (8, (63, 65)),
    (32, (15, 15, 17)),
    (72, (7, 7, 9, 9)),
    (143, (5, 3, 3, 3, 3, 3, 3)),
    (1, (15, 15, 17)),
)
"""Early tokens say little exactly, late ones much roughly (reverse water-filling), in 3,645 to 4,095 codes.

All levels are odd: a coefficient that is 0 stays 0. For the last token see `TokenizerConfig.refines_dc`."""

X4PLUS_GROWTH = 32
"""Channels that a convolution of Real-ESRGAN's x4plus adds."""

X4PLUS_WIDTH = 64
"""Channels of its trunk, and of its maps at full resolution."""

_MISSING = object()
_LATER = {"sharp_growth": X4PLUS_GROWTH, "sharp_fine": X4PLUS_WIDTH, "decoder_hidden": None}

_LEAST = dict.fromkeys(
    ("image_size", "patch_size", "num_tokens", "width", "heads", "decoder_layers", "linear_size"), 1
) | {"encoder_layers": 0, "sharp_blocks": 0, "sharp_fine": 1}


@dataclass(frozen=True)
class TokenizerConfig:
    """The geometry of one tokenizer; a YAML or JSON mapping with the same names builds it.

    >>> config = TokenizerConfig(decoder_layers=2)
    >>> config.num_tokens, config.codebook_size, TokenizerConfig.from_dict(config.to_dict()) == config
    (256, 4096, True)

    Attributes:
        image_size: pixels a side; the published models' size, and what ImageNet crops give.
        patch_size: pixels a side of a patch; 256 patches at 256 px: as many as there are latents.
        num_tokens: N, the longest code.
        width: transformer channels; heads of 64 channels.
        heads: of attention.
        encoder_layers: transformer blocks of the encoder; 0, with a linear path: its tokens as they are.
        decoder_layers: transformer blocks of the decoder, the harder half.
        decoder_hidden: channels inside the decoder's MLPs; None: four times width.
        quantizer: a lattice or a codebook; FSQ needs no commitment loss and cannot collapse.
        fsq_grades: of "fsq": pairs of how many tokens, and the levels of each; counts add up to num_tokens.
        vq_codebook_size: of "vq": codes of a token; the released models' size.
        vq_dim: of "vq": channels of one code vector.
        linear_path: the ordered DCT beside encoder and decoder; False is plain One-D-Piece.
        linear_size: side of the downscaled picture whose DCT is taken.
        pixel_head: what draws pixels from patches; configs/README.md compares them.
        vqgan_channels: of the head "vqgan": channels at full resolution.
        vqgan_multipliers: of "vqgan": what multiplies these, one a resolution level.
        vqgan_codebook_size: of "vqgan": rows of the pixel codebook.
        vqgan_codebook_dim: of "vqgan": channels of such a row.
        sharp_blocks: dense blocks of the sharp network behind the decoder; 0: faithful pictures only.
        sharp_growth: channels that a convolution of theirs adds, in all blocks or block by block.
        sharp_fine: channels of the sharp network's maps at full resolution.
        default_sharpness: what a file that asks for nothing is decoded with; chosen by measurement.
        released_latent_layout: True only for released weights: see `Encoder`.

    Raises:
        ValueError: on construction, naming the field that does not fit and the fix.
    """

    image_size: int = 256
    patch_size: int = 16
    num_tokens: int = 256
    width: int = 384
    heads: int = 6
    encoder_layers: int = 4
    decoder_layers: int = 8
    decoder_hidden: int | None = None
    quantizer: Literal["fsq", "vq"] = "fsq"
    fsq_grades: tuple[Grade, ...] = GRADED_FSQ
    vq_codebook_size: int = 4096
    vq_dim: int = 12
    linear_path: bool = True
    linear_size: int = 64
    pixel_head: Literal["patch", "shuffle", "linear", "vqgan"] = "patch"
    vqgan_channels: int = 128
    vqgan_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    vqgan_codebook_size: int = 1024
    vqgan_codebook_dim: int = 256
    sharp_blocks: int = 0
    sharp_growth: int | tuple[int, ...] = X4PLUS_GROWTH
    sharp_fine: int = X4PLUS_WIDTH
    default_sharpness: float = 1.0
    released_latent_layout: bool = False

    def __post_init__(self) -> None:
        # JSON and YAML give lists; equality and hashing want tuples.
        grades = tuple((int(count), tuple(int(v) for v in levels)) for count, levels in self.fsq_grades)
        object.__setattr__(self, "fsq_grades", grades)
        object.__setattr__(self, "vqgan_multipliers", tuple(int(m) for m in self.vqgan_multipliers))
        growth = self.sharp_growth if self.sharp_blocks else X4PLUS_GROWTH  # no blocks are all alike
        growth = growth if isinstance(growth, int) else tuple(int(each) for each in growth)
        object.__setattr__(self, "sharp_growth", growth)
        object.__setattr__(self, "sharp_fine", self.sharp_fine if self.sharp_blocks else X4PLUS_WIDTH)
        self._check()

    def _check(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least {least}")
        if self.decoder_hidden is not None and self.decoder_hidden < 1:
            raise ValueError(f"decoder_hidden is {self.decoder_hidden}; use at least 1, or null")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; change one"
            )
        if not 0 <= self.default_sharpness <= 1:
            raise ValueError(f"default_sharpness is {self.default_sharpness}; use 0 to 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}; change one")
        if self.quantizer == "fsq":
            self._check_grades()
        if not self.encoder_layers and not self.linear_path:
            raise ValueError("encoder_layers is 0: without a linear_path something has to make the tokens")
        if self.linear_path and self.quantizer != "fsq":
            raise ValueError(
                "linear_path needs quantizer 'fsq': its lattice is what carries the coefficients"
            )
        if self.linear_path:
            self._check_linear_size()
        if self.pixel_head in ("patch", "shuffle") and self.patch_size > 4 and self.patch_size % 4:
            raise ValueError(
                f"patch_size is {self.patch_size}, and pixel_head {self.pixel_head} draws 4×4 at once; "
                "use up to 4, a multiple of 4, or pixel_head linear"
            )
        growth = self.sharp_growth
        growths = (growth,) * self.sharp_blocks if isinstance(growth, int) else growth
        if min(growths, default=1) < 1 or len(growths) != self.sharp_blocks:
            raise ValueError(
                f"sharp_growth is {self.sharp_growth}; use at least 1, for all blocks or for each of the "
                f"{self.sharp_blocks} sharp_blocks"
            )
        if self.sharp_blocks and self.image_size % 8:
            raise ValueError(
                f"image_size is {self.image_size}, and sharp_blocks keep means over 8×8 pixels; use a "
                "multiple of 8, or sharp_blocks 0"
            )
        if self.pixel_head == "vqgan" and 2 ** (len(self.vqgan_multipliers) - 1) != self.patch_size:
            raise ValueError(
                f"vqgan_multipliers has {len(self.vqgan_multipliers)} levels, which upsample by "
                f"{2 ** (len(self.vqgan_multipliers) - 1)}, but patch_size is {self.patch_size}; change one"
            )

    def _check_linear_size(self) -> None:
        """Pixels of the linear picture are shared out evenly: to the photo's, and to the patches."""
        fit = [self.grid * k for k in range(1, self.patch_size + 1) if not self.patch_size % k]
        if self.linear_size not in fit:
            raise ValueError(
                f"linear_size is {self.linear_size}; image_size {self.image_size} and patch_size "
                f"{self.patch_size} go with {', '.join(map(str, fit))}"
            )

    def _check_grades(self) -> None:
        total = sum(count for count, _ in self.fsq_grades)
        if total != self.num_tokens:
            raise ValueError(
                f"fsq_grades cover {total} tokens, num_tokens is {self.num_tokens}; make them equal"
            )
        bits = {(prod(levels) - 1).bit_length() for _, levels in self.fsq_grades}
        if len(bits) != 1:
            raise ValueError(
                f"fsq_grades have codebooks of {sorted(bits)} bits; every grade needs the same number"
            )

    @property
    def codebook_size(self) -> int:
        """Number of values that one token can take."""
        if self.quantizer == "vq":
            return self.vq_codebook_size
        sizes = {prod(levels) for _, levels in self.fsq_grades}
        return sizes.pop() if len(sizes) == 1 else 1 << (max(sizes) - 1).bit_length()

    @property
    def refines_dc(self) -> bool:
        """Whether the last token, one of three channels, says the mean colours once more and finely."""
        count, levels = self.fsq_grades[-1]
        return self.linear_path and len(self.fsq_grades) > 1 and count == 1 and len(levels) == 3

    @property
    def codes_by_position(self) -> tuple[int, ...]:
        """Number of codes of each token: what `codebook_size` rounds up where the grades differ."""
        if self.quantizer == "vq":
            return (self.vq_codebook_size,) * self.num_tokens
        return tuple(prod(levels) for count, levels in self.fsq_grades for _ in range(count))

    @property
    def code_dim(self) -> int:
        """Channels of one code as the network sees it (the widest grade's, for FSQ)."""
        return max(len(levels) for _, levels in self.fsq_grades) if self.quantizer == "fsq" else self.vq_dim

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping of plain values that JSON and YAML can hold.

        Fields that came later are in it where they are not as usual: older models' digests are without them.
        """
        values = asdict(self)
        return {name: value for name, value in values.items() if value != _LATER.get(name, _MISSING)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a config from such a mapping.

        Raises:
            ValueError: an unknown name, or a value that does not fit.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown field(s) {', '.join(unknown)} in the tokenizer's config")
        return cls(**values)


def _published(width: int, layers: int, heads: int) -> TokenizerConfig:
    """One-D-Piece (arXiv 2501.10064, table 1) as released, VQGAN head included."""
    return TokenizerConfig(
        width=width,
        heads=heads,
        encoder_layers=layers,
        decoder_layers=layers,
        quantizer="vq",
        linear_path=False,
        pixel_head="vqgan",
        released_latent_layout=True,
    )


PRESETS: dict[str, TokenizerConfig] = {
    "ti-256": TokenizerConfig(),
    "s-256": _published(512, 8, 8),
    "b-256": _published(768, 12, 12),
    "l-256": _published(1024, 24, 16),
}


def preset(name: str) -> TokenizerConfig:
    """Return the preset called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
