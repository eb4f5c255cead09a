import dataclasses

import pytest
import torch

from deepmask.network import DeepMask, normalized
from deepmask.training import transplant
from tests.networks import SMALL, small_network


def pictures():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, 3, 96, 128, generator=generator) * 255 for _ in range(6)]


def test_with_the_same_trunk_the_network_comes_back():
    donor, network = small_network(), DeepMask(SMALL).eval()
    network.trunk.load_state_dict(donor.trunk.state_dict())
    shares = transplant.transplant(donor, network, pictures())
    assert len(shares) == 4
    assert min(shares) > 0.99
    with torch.no_grad():
        mine, theirs = (n.dense_of(normalized(pictures()[0])) for n in (network, donor))
    for a, b in zip(mine.scores, theirs.scores, strict=True):
        assert torch.allclose(a, b, atol=0.02)


def test_another_trunk_feeds_the_same_heads():
    torch.manual_seed(1)
    donor, network = small_network(), DeepMask(dataclasses.replace(SMALL, trunk="lite2")).eval()
    trunk = {name: value.clone() for name, value in network.trunk.state_dict().items()}
    shares = transplant.transplant(donor, network, pictures())
    assert all(0 < share < 1.01 for share in shares)
    assert all((value == trunk[name]).all() for name, value in network.trunk.state_dict().items())
    given = donor.mask_head.state_dict()
    assert all(
        (value == given[name]).all() for name, value in network.mask_head.state_dict().items()
    )


@pytest.mark.parametrize("missing", ["--initial", "--data"])
def test_what_is_not_there_is_said_in_one_line(missing, tmp_path, capsys):
    options = {"--initial": "deepmask-lite0", "--data": str(tmp_path), "--trunk": "lite0"}
    options |= {missing: str(tmp_path / "nothing"), "--output": str(tmp_path / "out.safetensors")}
    assert transplant.main([word for pair in options.items() for word in pair]) == 2
    said = capsys.readouterr().err
    assert said.startswith("deepmask.training.transplant: ")
    assert "nothing" in said or "pip install" in said
    assert not (tmp_path / "out.safetensors").exists()
