"""Random numbers that depend on a name and a step only: a resumed run draws what the first would have."""

from hashlib import blake2b

import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from `parts`; different parts give unrelated seeds."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a fresh generator on `device`, seeded by `parts` (see `derive_seed`)."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
