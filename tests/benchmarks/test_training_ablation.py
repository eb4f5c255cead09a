"""The ablations that need training: each can be run, and all go on where they were stopped."""

import sys
import types

import pytest

import configs
from benchmarks.network_ablation import Row
from benchmarks.training_ablation import BUDGET, TRAININGS, main
from deepmask.network import DeepMask
from deepmask.training.config import TrainConfig

ROW = Row("", 0.1, 0.2, 0.01, 0.2, 0.4, 0.3, 0.9, 1.5, 25.0)


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_has_its_own_settings_and_a_network(name):
    config = configs.load(TrainConfig, None, [*BUDGET, *TRAININGS[name]])
    assert (config == configs.load(TrainConfig, None, BUDGET)) == (not TRAININGS[name])
    DeepMask(config.network)


def test_trainings_go_on_where_they_were_stopped(tmp_path, monkeypatch, capsys):
    trained: list[tuple[str, bool]] = []
    stopped_at = "mask-low-rank-alone"

    def run(words, check):
        name = words[words.index("--output") + 1].removeprefix(f"{tmp_path}/")
        resumes = "--resume" in words
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "resume.pt").touch()
        if name == stopped_at and not resumes:
            raise KeyboardInterrupt
        trained.append((name, resumes))

    def start(*more):
        given = ["training_ablation", "--data", "data", "--output", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", given)
        main()

    fake = types.SimpleNamespace(run=run)
    monkeypatch.setattr("benchmarks.training_ablation.subprocess", fake)
    monkeypatch.setattr("benchmarks.training_ablation.load_set", lambda *_: [])
    monkeypatch.setattr("benchmarks.training_ablation.measure", lambda *_: [ROW])
    with pytest.raises(KeyboardInterrupt):
        start()
    known = [
        ".200" in line
        for line in (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()[2:]
    ]
    assert known == [True] * 3 + [False] * (len(TRAININGS) - 3)
    start()
    assert trained[3] == (stopped_at, True)
    assert [resumes for _, resumes in trained].count(True) == 1
    assert len({name for name, _ in trained}) == len(trained) == len(TRAININGS)
    assert "not run" not in (tmp_path / "table.md").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError, match="is of other settings: give another --output"):
        start("--train", "images=10")
    capsys.readouterr()
    start("--list", "--train", "images=10")
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == len(TRAININGS)
    assert "--set images=10 --set network.trunk=lite1" in commands[1]
