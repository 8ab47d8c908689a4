import torch

from onedpiece.training.data.sampling import derive_seed, generator_for


def test_same_parts_same_numbers() -> None:
    draws = [torch.rand(3, generator=generator_for("cpu", "step", 1, 2)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])


def test_every_part_matters_and_so_does_its_place() -> None:
    seeds = {derive_seed(*parts) for parts in [("a", 1, 2), ("a", 2, 1), ("b", 1, 2), ("a", 12), ("a", 1)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
