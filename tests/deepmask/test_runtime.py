"""Weights on disk and the two runtimes: what one computes, the other does."""

import json
import locale
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from deepmask import checkpoint
from deepmask import runtime as runtime_module
from deepmask.checkpoint import CheckpointError
from deepmask.config import DeepMaskConfig
from deepmask.deploy import DeployConfig, DeviceError, open_runtime
from deepmask.runtime import OpenVinoRuntime, usable_cores
from deepmask.torch_runtime import TorchRuntime
from tests.networks import small_network

SIZE = (192, 256)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, small_network(), {"images": "0"})
    return path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (100, 140, 3)).astype(np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_weights_come_back_with_their_config(weights):
    network = checkpoint.load(weights)
    assert network.config == DeepMaskConfig(channels=16, embedding=24)
    assert not network.training


def test_damaged_weights_are_named(weights, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"damaged.*cannot be read"):
        checkpoint.load(damaged)
    with pytest.raises(CheckpointError, match="no weights 'nothing'"):
        open_runtime(DeployConfig(weights="nothing"))


def test_openvino_says_what_torch_says(weights, image, cache, caplog):
    caplog.set_level("INFO")
    openvino = OpenVinoRuntime(weights, threads=1)
    assert caplog.text.count("preparing the network for this computer, once") == 1
    openvino_f32 = OpenVinoRuntime(weights, threads=1, precision="f32")
    assert caplog.text.count("preparing") == 1
    reference = TorchRuntime(checkpoint.load(weights), torch.device("cpu"))
    wanted = reference(image, SIZE, 0.3, 20)
    assert len(wanted.scores) == 20
    exact = openvino_f32(image, SIZE, 0.3, 20)
    rows = {tuple(window): i for i, window in enumerate(exact.windows)}
    pairs = [(i, rows[tuple(w)]) for i, w in enumerate(wanted.windows) if tuple(w) in rows]
    assert len(pairs) >= 18  # cells with almost the same score may change places at the end
    ours, theirs = np.array(pairs).T
    np.testing.assert_allclose(exact.scores[theirs], wanted.scores[ours], atol=5e-3)
    np.testing.assert_allclose(exact.masks[theirs], wanted.masks[ours], atol=2e-2)
    drawn = wanted.masks[ours].mean((1, 2)) > 0.01  # of an empty mask the appearance is noise
    assert drawn.any()
    appearance = exact.appearance[theirs][drawn], wanted.appearance[ours][drawn]
    np.testing.assert_allclose(*appearance, atol=2e-2)
    assert openvino(image, SIZE, 0.3, 20).masks.shape == wanted.masks.shape
    assert len(openvino(image, SIZE, 1.0, 20).scores) == 0


@pytest.mark.parametrize(
    ("machine", "precision", "used"),
    [
        ("x86_64", "auto", "int8 and {}"),
        ("AMD64", "auto", "int8 and {}"),  # as Windows says it
        ("arm64", "auto", "f32"),
        ("x86_64", "bf16", "{}"),
        ("x86_64", "f32", "f32"),
    ],
)
def test_openvino_says_what_it_computes_in(weights, cache, monkeypatch, machine, precision, used):
    monkeypatch.setattr("platform.machine", lambda: machine)
    runtime = OpenVinoRuntime(weights, threads=1, precision=precision)
    able = runtime.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    floats = "bf16" if "BF16" in able else "f32"
    assert runtime.description == f"OpenVINO {used.format(floats)} on 1 CPU cores"


def test_openvino_draws_only_what_reaches_the_score(weights, image, cache):
    runtime = OpenVinoRuntime(weights, threads=1, precision="f32")
    every = runtime(image, SIZE, 0.0, 40)
    least = float(np.median(every.scores))
    found = runtime(image, SIZE, least, 40)
    chosen = every.chosen(np.flatnonzero(every.scores >= least))
    assert 0 < len(found.scores) < len(every.scores)
    np.testing.assert_array_equal(found.windows, chosen.windows)
    np.testing.assert_allclose(found.masks, chosen.masks, atol=1e-4)
    np.testing.assert_allclose(found.appearance, chosen.appearance, atol=1e-4)


def test_a_second_start_converts_nothing_and_does_not_import_torch(weights, image, cache):
    code = (
        "import sys, json, numpy as np\n"
        "from pathlib import Path\n"
        "from deepmask.runtime import OpenVinoRuntime\n"
        "runtime = OpenVinoRuntime(Path(sys.argv[1]), threads=1)\n"
        f"windows = runtime(np.zeros((100, 140, 3), np.uint8), {SIZE}, 0.3, 20)\n"
        "print(json.dumps(['torch' in sys.modules, len(windows.scores)]))\n"
    )
    answers = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code, str(weights)],
                capture_output=True,
                encoding="utf-8",
                check=True,
            ).stdout.splitlines()[-1]
        )
        for _ in range(2)
    ]
    assert answers[0][0] is True
    assert answers[1] == [False, answers[0][1]]


def test_a_damaged_cache_is_made_anew(weights, image, cache):
    before = OpenVinoRuntime(weights, threads=1)(image, SIZE, 0.3, 5)
    for path in cache.rglob("*.bin"):
        path.write_bytes(b"")
    after = OpenVinoRuntime(weights, threads=1)(image, SIZE, 0.3, 5)
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-5)


def test_a_full_disk_sends_the_cache_elsewhere(weights, cache, tmp_path, monkeypatch):
    spare = tmp_path / "spare"
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(spare))
    free = runtime_module._free_bytes
    monkeypatch.setattr(
        runtime_module, "_free_bytes", lambda f: free(f) if spare in f.parents else 10**6
    )
    assert spare in runtime_module._cache_folder(weights).parents
    monkeypatch.setattr(runtime_module, "_free_bytes", lambda _: 10**6)
    with pytest.raises(OSError, match=r"has 50 MB left \(tried: .*\); set XDG_CACHE_HOME"):
        runtime_module._cache_folder(weights)


def test_a_disk_that_is_full_in_the_middle_is_named(weights, cache, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("openvino.save_model", full)
    with pytest.raises(OSError, match="quota is full; set XDG_CACHE_HOME"):
        OpenVinoRuntime(weights, threads=1)
    assert not [*cache.rglob("*.bin")]


def test_nobody_has_no_home(weights, monkeypatch, tmp_path):
    """A service may run as a user whom the system does not know."""

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert tmp_path in runtime_module._cache_folder(weights).parents


def test_what_cannot_be_kept_is_computed_all_the_same(weights, image, cache, monkeypatch, caplog):
    before = OpenVinoRuntime(weights, threads=1)(image, SIZE, 0.3, 5)
    compile_graph = OpenVinoRuntime._compile

    def disturbed(self, path, size, keep=True):
        if keep:
            raise RuntimeError("filesystem error: cannot set permissions")
        return compile_graph(self, path, size, keep)

    monkeypatch.setattr(OpenVinoRuntime, "_compile", disturbed)
    after = OpenVinoRuntime(weights, threads=1)(image, SIZE, 0.3, 5)
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-5)
    assert "is not kept: filesystem error" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "finds no CUDA"), ("gpu", "unknown device 'gpu'")]
)
def test_a_device_that_is_not_there_is_named(weights, device, words):
    with pytest.raises(DeviceError, match=words):
        open_runtime(DeployConfig(weights=str(weights), device=device))


@pytest.mark.gpu
def test_cuda_says_what_the_cpu_says(weights, image):
    reference = TorchRuntime(checkpoint.load(weights), torch.device("cpu"))
    runtime = TorchRuntime(checkpoint.load(weights), torch.device("cuda:0"))
    wanted, given = (r(image, SIZE, 0.3, 5) for r in (reference, runtime))
    np.testing.assert_allclose(np.sort(given.scores), np.sort(wanted.scores), atol=2e-2)


def test_threads_that_begin_together_do_not_wait_for_each_other(weights, cache):
    """OpenVINO's binding deadlocks when two threads use it for the first time at once."""
    code = (
        "import sys, numpy as np\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from deepmask.runtime import OpenVinoRuntime\n"
        "runtime = OpenVinoRuntime(Path(sys.argv[1]), threads=2)\n"
        "image = np.zeros((100, 140, 3), np.uint8)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        f"    runs = [pool.submit(runtime, image, {SIZE}, 0.3, 5) for _ in range(8)]\n"
        "    print(len([run.result() for run in runs]))\n"
    )
    command = [sys.executable, "-c", code, str(weights)]
    for _ in range(3):
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, timeout=100
        )
        assert done.stdout.strip() == "8"


def test_two_starts_at_once_share_a_cold_cache(weights, image, cache):
    with ThreadPoolExecutor(2) as pool:
        runtimes = list(pool.map(lambda _: OpenVinoRuntime(weights, threads=1), range(2)))
        first, second = pool.map(lambda runtime: runtime(image, SIZE, 0.3, 20), runtimes)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert {path.name for path in runtimes[0].cache.iterdir() if path.is_dir()} == {"compiled"}


def test_more_calls_than_cores_only_where_none_has_to_be_early(weights, cache):
    live, file = (
        open_runtime(DeployConfig(weights=weights, device="cpu", threads=3, batch=batch))
        for batch in (1, 8)
    )
    assert (live.concurrency, file.concurrency) == (3, 5)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("9900000 100000", 8),
        ("max 100000", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_cores_are_those_that_a_container_allows(quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n", encoding="ascii")
    assert usable_cores(tmp_path / "cpu.max") == expected


def test_cores_are_all_where_no_system_says_more(tmp_path, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert usable_cores(tmp_path / "cpu.max") == 6


def test_starts_at_once_leave_the_locale_alone(weights, cache):
    """OpenVINO sets the process's locale while it compiles: text would be read as ASCII after."""
    OpenVinoRuntime(weights, threads=1)
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    except locale.Error:
        pytest.skip("this system has no C.UTF-8")
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: OpenVinoRuntime(weights, threads=1), range(16)))
        assert locale.getlocale(locale.LC_CTYPE)[1] == "UTF-8"
    finally:
        locale.setlocale(locale.LC_ALL, before)


def test_sizes_used_long_ago_are_forgotten(weights, image, cache, monkeypatch):
    monkeypatch.setattr("deepmask.runtime.MOST_SHAPES", 2)
    runtime = OpenVinoRuntime(weights, threads=1)
    sizes = [(64, 96), (96, 96), (128, 96), (64, 96)]
    answers = [runtime(image, size, 0.1, 20).scores for size in sizes]
    np.testing.assert_array_equal(answers[0], answers[-1])
    assert list(runtime._dense) == list(runtime._local.dense) == sizes[-2:]


def test_graphs_of_earlier_versions_leave_the_cache(weights, cache, monkeypatch):
    monkeypatch.setattr("deepmask.runtime.FORMAT", 1)
    old = OpenVinoRuntime(weights, threads=1).cache
    monkeypatch.setattr("deepmask.runtime.FORMAT", 2)
    assert OpenVinoRuntime(weights, threads=1).cache.is_dir()
    assert not old.exists()


@pytest.mark.parametrize("size", [(64, 480), (352, 96), (416, 544)])
def test_one_graph_serves_all_sizes(size, weights, image, cache):
    reference = TorchRuntime(checkpoint.load(weights), torch.device("cpu"))
    wanted = reference(image, size, 0.1, 30)
    given = OpenVinoRuntime(weights, threads=1, precision="f32")(image, size, 0.1, 30)
    places = {tuple(window): k for k, window in enumerate(wanted.windows.round(2).tolist())}
    pairs = [
        (k, places[tuple(window)])
        for k, window in enumerate(given.windows.round(2).tolist())
        if tuple(window) in places  # cells that are as good as each other take turns
    ]
    mine, theirs = np.array(pairs).T
    assert len(pairs) > 15
    np.testing.assert_allclose(given.scores[mine], wanted.scores[theirs], atol=0.01)
    np.testing.assert_allclose(given.masks[mine], wanted.masks[theirs], atol=0.03)


def test_nobody_is_told_that_it_runs():
    """OpenVINO reports its imports and conversions to Google Analytics, unless it is kept from."""
    code = (
        "import deepmask.runtime, openvino.tools.ovc.telemetry_utils as used; "
        "print(used.tm.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
