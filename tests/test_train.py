import math
from dataclasses import replace

import pytest
import torch

import gaussian_splatting.training.train as train_module
from gaussian_splatting.quality import mean_psnr, psnr
from gaussian_splatting.training.checkpoint import fingerprint
from gaussian_splatting.training.engine_cpu import CpuEngine, adam
from gaussian_splatting.training.schedule import TrainConfig, camera_extent, learning_rates, pixel_width, view_order
from gaussian_splatting.training.state import LossConfig, TrainingState
from gaussian_splatting.training.train import first_gaussians, train
from tests.toy_scene import ball, cameras, views


@pytest.fixture(scope="module")
def photographs():
    return views()


def short(**changes):
    """A schedule with every kind of event in 60 steps."""
    config = TrainConfig.fast(60)
    return replace(config, densify_from=5, densify_every=10, levels=((0, 2), (20, 1)), budget=0.6, **changes)


def same(first, second):
    return all(torch.equal(v, second.as_dict()[k]) for k, v in first.as_dict().items())


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt(monkeypatch):
    """Makes the engine fail at the n-th segment, and every tick save."""

    def at(segment):
        run, count = CpuEngine.run, [0]

        def failing(self, *args):
            count[0] += 1
            if count[0] == segment:
                raise Interrupted
            return run(self, *args)

        monkeypatch.setattr(CpuEngine, "run", failing)

    monkeypatch.setattr(train_module, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(train_module, "_TICK", 15)
    return at


def test_loss_falls_tenfold(photographs, monkeypatch):
    monkeypatch.setattr(train_module, "_TICK", 20)
    config = replace(TrainConfig.fast(300), levels=((0, 1),), budget=5.0)
    start = train(photographs, replace(config, iterations=1)).history[0]["loss"]
    result = train(photographs, config, evaluate_views=views(count=5))
    assert result.history[-1]["loss"] < start / 10
    assert result.psnr > 30
    assert result.history[-1]["psnr"] > 27
    assert result.history[-1]["gaussians"] == len(result.gaussians)
    assert result.seconds > 0


def test_paper_schedule_learns_from_a_random_cloud(photographs):
    config = replace(TrainConfig.paper(120), start_count=300, densify_from=20, densify_every=20)
    result = train(photographs, config)
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]


@pytest.mark.determinism
def test_same_seed_same_bits(photographs):
    first, second = (train(photographs, short(), seed=3).gaussians for _ in range(2))
    assert same(first, second)
    assert not same(first, train(photographs, short(), seed=4).gaussians)


@pytest.mark.determinism
@pytest.mark.parametrize("segment", [2, 4])
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_resumed_run_is_the_undisturbed_run(photographs, tmp_path, interrupt, monkeypatch, preset, segment):
    config = (
        short(sh_degree=1, sh_every=25)
        if preset == "fast"
        else replace(TrainConfig.paper(60), start_count=200, densify_from=10, densify_every=10, opacity_reset_every=20)
    )
    undisturbed = train(photographs, config)
    with monkeypatch.context():
        interrupt(segment)
        with pytest.raises(Interrupted):
            train(photographs, config, checkpoint=tmp_path / "c.pt")
    monkeypatch.undo()
    resumed = train(photographs, config, checkpoint=tmp_path / "c.pt")
    assert same(undisturbed.gaussians, resumed.gaussians)
    drop = [{k: v for k, v in record.items() if k != "seconds"} for record in resumed.history]
    assert drop[-1]["gaussians"] == undisturbed.history[-1]["gaussians"]


@pytest.mark.determinism
def test_finished_run_is_not_repeated(photographs, tmp_path):
    first = train(photographs, short(), checkpoint=tmp_path / "c.pt")
    second = train(photographs, short(), checkpoint=tmp_path / "c.pt")
    assert same(first.gaussians, second.gaussians)
    assert second.history == first.history


@pytest.mark.parametrize("damage", ["cut", "other seed", "garbage"])
def test_useless_checkpoint_starts_anew(photographs, tmp_path, caplog, damage):
    path = tmp_path / "c.pt"
    train(photographs, short(), checkpoint=path, seed=1 if damage == "other seed" else 0)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "garbage":
        path.write_bytes(b"garbage")
    result = train(photographs, short(), checkpoint=path)
    assert same(result.gaussians, train(photographs, short()).gaussians)
    assert "starts anew" in caplog.text


def test_fingerprint_sees_pictures_poses_and_configuration(photographs):
    config = short().as_dict()
    base = fingerprint(config, 0, photographs)
    assert base == fingerprint(config, 0, list(photographs))
    changed = replace(photographs[0], image=255 - photographs[0].image)
    moved = replace(photographs[0], camera=cameras(3)[1])
    others = [
        fingerprint(replace(short(), iterations=61).as_dict(), 0, photographs),
        fingerprint(config, 1, photographs),
        fingerprint(config, 0, photographs[1:]),
        fingerprint(config, 0, [changed, *photographs[1:]]),
        fingerprint(config, 0, [moved, *photographs[1:]]),
    ]
    assert len({base, *others}) == 6


def test_a_start_may_be_given(photographs):
    config = short()
    start = first_gaussians(photographs, config, seed=3)
    told = train(photographs, config, seed=3, start=start)
    assert same(told.gaussians, train(photographs, config, seed=3).gaussians)
    assert same(start, first_gaussians(photographs, config, seed=3)), "the start is left as it was"
    assert not same(told.gaussians, train(photographs, config, seed=3, start=ball(len(start))).gaussians)


def test_budget_is_kept(photographs):
    config = short()
    result = train(photographs, config)
    pixels = sum((v.image.min(-1).values < 250).sum().item() for v in photographs) / len(photographs)
    assert 0.9 * 0.6 * pixels**0.7 < len(result.gaussians) <= 1.01 * 0.6 * pixels**0.7


def test_object_on_gray_starts_from_its_hull(photographs, caplog):
    gray = [replace(v, image=(v.image.float() * 0.5).to(torch.uint8)) for v in photographs]
    result = train(gray, replace(short(), iterations=2))
    assert "visual hull" not in caplog.text
    assert result.backdrop.color == pytest.approx((127 / 255,) * 3)


def test_a_cluttered_background_falls_back_to_the_cube(photographs, caplog):
    noise = torch.Generator().manual_seed(0)
    cluttered = [
        replace(v, image=torch.randint(0, 256, v.image.shape, generator=noise, dtype=torch.uint8)) for v in photographs
    ]
    train(cluttered, replace(short(), iterations=2))
    assert "one plain backdrop" in caplog.text


def test_bad_views_are_named(photographs):
    with pytest.raises(ValueError, match="at least one view"):
        train([], short())
    odd = replace(photographs[1], name="odd", image=torch.zeros(5, 5, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="odd: the picture is 5x5"):
        train([photographs[0], odd], short())


def test_paper_values():
    config = TrainConfig.paper()
    assert (config.iterations, config.views_per_step, config.sh_degree) == (30_000, 1, 0)
    assert config.loss == LossConfig(0.2, (1.0, 1.0, 1.0))
    rates = learning_rates(config, views(count=2))
    extent = camera_extent(views(count=2))
    assert rates["means"][[0, -1]].tolist() == pytest.approx([1.6e-4 * extent, 1.6e-6 * extent])
    for name, value in {"sh": 2.5e-3, "opacity_logits": 0.05, "log_scales": 5e-3, "quats": 1e-3}.items():
        assert rates[name].unique().tolist() == pytest.approx([value], rel=1e-5)
    assert rates["sh_rest"][0].item() == pytest.approx(2.5e-3 / 20)
    dense = [i for i in range(1, 30_001) if config.densifies_at(i)]
    assert (dense[0], dense[1], dense[-1]) == (600, 700, 14_900)
    resets = [i for i in range(1, 30_001) if config.resets_opacity_at(i)]
    assert resets == [500, 3000, 6000, 9000, 12_000]
    assert (config.grad_threshold, config.prune_opacity, config.split_share) == (2e-4, 0.005, 0.01)
    assert TrainConfig.paper(7000).densify_until == 3500
    assert TrainConfig.paper(sh_degree=3).sh_degree_at(2999) == 2


def test_presets_by_name():
    assert TrainConfig.preset("paper", "cpu") == TrainConfig.preset("paper", "cuda") == TrainConfig.paper()
    assert TrainConfig.preset("paper", "cpu", 7000, 3) == TrainConfig.paper(7000, sh_degree=3)
    assert TrainConfig.preset("fast", "cpu") == TrainConfig.fast()
    on_gpu = TrainConfig.preset("fast", "cuda", sh_degree=1)
    assert (on_gpu.iterations, on_gpu.views_per_step, on_gpu.sh_degree) == (4000, 4, 1)
    assert TrainConfig.preset("fast", "cpu", 500).iterations == 500
    with pytest.raises(ValueError, match="paper.*fast.*slow"):
        TrainConfig.preset("slow", "cpu")


def test_every_view_comes_once_a_round():
    config = replace(TrainConfig.paper(10), views_per_step=2)
    order = view_order(5, config, torch.Generator().manual_seed(0))
    assert order.shape == (10, 2)
    for round_of_five in order.flatten().reshape(4, 5):
        assert round_of_five.sort().values.tolist() == [0, 1, 2, 3, 4]


def test_levels_stay_above_the_smallest_width():
    config = replace(TrainConfig.paper(10), levels=((0, 4), (5, 1)))
    assert config.divisor_at(0, 400) == 4
    assert config.divisor_at(0, 200) == 3
    assert config.divisor_at(5, 400) == 1


def test_extent_is_that_of_the_cameras():
    assert camera_extent(views(count=2)) == pytest.approx(
        1.1 * 0.5 * (cameras(2)[0].center - cameras(2)[1].center).norm().item()
    )


def test_means_move_by_pixels_of_the_level(photographs):
    camera = photographs[0].camera
    assert pixel_width(photographs) == pytest.approx(3.0 / camera.fx, rel=1e-6)
    config = replace(TrainConfig.fast(10), means_rate=(0.1, 0.1), levels=((0, 2), (5, 1)))
    large = [replace(v, camera=camera.resized(480, 480)) for v, camera in zip(photographs, cameras(12), strict=True)]
    rates = learning_rates(config, large)["means"] / (0.3 / camera.fx)
    assert rates.tolist() == pytest.approx([0.2] * 5 + [0.1] * 5)


def test_adam_is_adam():
    """Against the formulas of the paper (Kingma and Ba 2015, algorithm 1), written out."""
    model = ball(5, sh_degree=1)
    state = TrainingState.start(model)
    rates = {"means": 1e-3, "log_scales": 2e-3, "quats": 3e-3, "opacity_logits": 4e-3, "sh": 5e-3, "sh_rest": 1e-4}
    twin = {k: v.double().clone() for k, v in model.as_dict().items()}
    first, second = ({k: torch.zeros_like(v) for k, v in twin.items()} for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for t in range(1, 5):
        grads = {k: torch.randn(v.shape, generator=generator) for k, v in twin.items()}
        adam(state, grads, rates)
        for k, g in grads.items():
            first[k] = 0.9 * first[k] + 0.1 * g.double()
            second[k] = 0.999 * second[k] + 0.001 * g.double() ** 2
            direction = first[k] / (1 - 0.9**t) / ((second[k] / (1 - 0.999**t)).sqrt() + 1e-15)
            rate = torch.tensor([5e-3, 1e-4, 1e-4, 1e-4])[:, None] if k == "sh" else rates[k]
            twin[k] -= rate * direction
    for k, v in state.params.items():
        assert torch.allclose(v.double(), twin[k], atol=1e-6), k


def test_statistics_count_drawn_views(photographs):
    state, engine = TrainingState.start(ball()), CpuEngine()
    engine.set_views(photographs, 48, 48)
    rates = {k: v[:3] for k, v in learning_rates(TrainConfig.paper(3), photographs).items()}
    engine.run(state, torch.tensor([[0, 1], [2, 3], [4, 5]]), rates, LossConfig())
    assert state.grad2d_count.max() == 6
    assert state.adam_step == 3
    assert (state.grad2d_sum[state.grad2d_count > 0] > 0).any()


def test_psnr_of_known_errors():
    target = torch.full((2, 4, 4, 3), 128, dtype=torch.uint8)
    image = torch.full((2, 3, 4, 4), 128 / 255)
    image[1] += 0.1
    values = psnr(image, target)
    assert values[0] > 90 and values[1].item() == pytest.approx(20, abs=1e-3)
    assert psnr(image + 9, target * 0 + 255)[0] > 90  # clamped
    assert math.isfinite(mean_psnr(ball(), views(count=2)))
