import dataclasses

import pytest
import torch

from deepmask.network import DeepMask, normalized
from deepmask.training import average
from deepmask.training.measured import norms_of, restate
from tests.networks import SMALL, small_network


def maps(network):
    with torch.no_grad():
        picture = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 255
        return network.dense_of(normalized(picture)).scores


def test_half_of_each():
    first, second = small_network(), small_network()
    weights = second.mask_head.state_dict()
    for value in weights.values():
        value.add_(1.0)
    before = {name: value.clone() for name, value in first.mask_head.state_dict().items()}
    average.mix(first, second, 0.25)
    for name, value in first.mask_head.state_dict().items():
        torch.testing.assert_close(value, before[name] + 0.25)


def test_norms_with_other_statistics_that_compute_the_same_change_nothing():
    """Their factors must not be averaged as they stand."""
    first, second = small_network(), small_network()
    wanted = maps(first)
    for norm in norms_of(second):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        restate(norm, norm.running_mean + 3, norm.running_var * 9 + 1)
    average.mix(first, second, 0.5)
    for found, given in zip(maps(first), wanted, strict=True):
        torch.testing.assert_close(found, given, rtol=1e-3, atol=1e-4)


def test_two_kinds_of_network_have_no_mean():
    other = DeepMask(dataclasses.replace(SMALL, trunk="lite2"))
    with pytest.raises(ValueError, match="two kinds"):
        average.mix(small_network(), other, 0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["deepmask-lite0", "nothing.safetensors"], "nothing.safetensors"),
        (["deepmask-lite0", "deepmask-lite0", "--share", "1.5"], "1.5"),
    ],
)
def test_mistakes_are_said_in_one_line(given, said, tmp_path, capsys):
    output = tmp_path / "out.safetensors"
    assert average.main([*given, "--data", str(tmp_path), "--output", str(output)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("deepmask.training.average: ")
    assert said in line
    assert line.count("\n") == 1
    assert not output.exists()
