"""Small scenes for the rasterizer's tests, drawn from a seed, and how two renderings are compared."""

import torch
from diff_gaussian_rasterization import Rasterized
from diff_gaussian_rasterization.reference.rasterize import rotations_of
from diff_gaussian_rasterization.types import PictureGradient, Scene
from torch import Tensor

TENSORS = (
    "means",
    "scales",
    "quats",
    "opacities",
    "colors",
    "cam_from_world",
    "intrinsics",
    "background",
    "screen_offsets",
)


def random_scene(
    count: int,
    width: int,
    height: int,
    *,
    views: int = 2,
    sh: int = 4,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Scene:
    """A cloud around the origin seen from `views` sides. Some Gaussians are opaque, some lie behind a camera or off the
    picture, two lie at one place. sh = 0: precomputed colors."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    means = (uniform(count, 3) - 0.5) * torch.tensor((3.0, 3.0, 5.0), dtype=torch.float64)
    if count > 1:
        means[1] = means[0]
    colors = uniform(count, sh, 3) - 0.4 if sh else uniform(count, 3)
    cam_from_world = torch.eye(4, dtype=torch.float64).repeat(views, 1, 1)
    for view in range(views):
        rotation, _ = torch.linalg.qr(uniform(3, 3) - 0.5)
        cam_from_world[view, :3, :3] = rotation * torch.linalg.det(rotation).sign()
        cam_from_world[view, :3, 3] = torch.tensor((0.1, -0.2, 1.8 + 0.5 * view))
    intrinsics = torch.tensor((1.1 * width, 1.05 * width, 0.52 * width, 0.47 * height), dtype=torch.float64)
    tensors = (
        means,
        uniform(count, 3) * 0.25 + 0.01,
        uniform(count, 4) - 0.5,
        (uniform(count) * 1.2).clamp(max=1.0),
        colors,
        cam_from_world,
        intrinsics.repeat(views, 1),
    )
    background = torch.tensor((0.9, 0.5, 0.2), dtype=torch.float64)
    offsets = (uniform(views, count, 2) - 0.5) * 0.2
    return scene_on(Scene(*tensors, width, height, background, offsets), dtype)


def broad_scene(sh: int) -> Scene:
    """Four Gaussians over 5 x 4 px, clear of every threshold, so that finite differences see a smooth function:
    alpha is between 1/255 and 0.99 all over. One lies so far aside that the projection's Jacobian is clamped."""
    scene = random_scene(4, 5, 4, views=1, sh=sh, seed=3)
    means = scene.means * 0.1
    means[1, 2] += 0.2
    means[3, 0] = 1.9
    cam_from_world = scene.cam_from_world.clone()
    cam_from_world[:, :3, :3] = torch.eye(3, dtype=torch.float64)
    scales, opacities = scene.scales + 1.4, 0.2 + 0.4 * scene.opacities
    return scene._replace(means=means, scales=scales, opacities=opacities, cam_from_world=cam_from_world)


VARIANTS = ("covariances", "antialiased", "inverse depth", "tiles of 3DGS", "all")


def variant(scene: Scene, name: str) -> Scene:
    """The scene drawn in one of the ways of VARIANTS; `all` takes everything at once."""
    if name in ("covariances", "all"):
        factor = rotations_of(scene.quats) * scene.scales[:, None]
        rows, columns = torch.triu_indices(3, 3)
        covariances = (factor @ factor.mT)[:, rows, columns]
        scene = scene._replace(scales=covariances, quats=scene.quats[:, :0])
    return scene._replace(
        antialiased=name in ("antialiased", "all"),
        inverse_depth=name in ("inverse depth", "all"),
        tiles_of_3dgs=name in ("tiles of 3DGS", "all"),
    )


def scene_on(scene: Scene, to: torch.dtype | torch.device | str) -> Scene:
    """The scene in another type or on another device."""
    return Scene(*(value.to(to) if isinstance(value, Tensor) else value for value in scene))


def picture_gradients(out: Rasterized, seed: int = 1) -> PictureGradient:
    """Of a random linear loss in image, alpha and depth."""
    g = torch.Generator().manual_seed(seed)
    return PictureGradient(*(torch.randn(p.shape, generator=g, dtype=torch.float64).to(p) for p in out[:3]))


def values_and_gradients(draw, scene: Scene, seed: int = 1) -> tuple[Rasterized, dict[str, Tensor]]:
    """What `draw` makes of the scene, and the gradient of the loss of `picture_gradients` by name."""
    leaves = {name: getattr(scene, name).detach().clone().requires_grad_() for name in TENSORS}
    out = draw(scene._replace(**leaves))
    outer = picture_gradients(out, seed)
    gradients = torch.autograd.grad(out[:3], list(leaves.values()), outer, materialize_grads=True)
    return out, dict(zip(leaves, gradients, strict=True))


def assert_gradients_close(got: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    """Every gradient as a whole: relative L2 distance at most `relative`."""
    for name, want in expected.items():
        distance = (got[name].double() - want.double()).norm()
        assert distance <= relative * want.double().norm() + 1e-30, f"{name}: {distance / want.double().norm():.2e}"


def threshold_scene(dtype: torch.dtype = torch.float32) -> Scene:
    """Gaussians whose opacity is ALPHA_MIN to a few units in the last place: at or below it none is drawn or listed."""
    scene = random_scene(90, 24, 20, views=1, sh=0, dtype=dtype, seed=5)
    at = torch.tensor(1 / 255, dtype=dtype)
    opacities = at * (1 + torch.arange(-4, 5).to(dtype) * torch.finfo(dtype).eps)
    return scene._replace(opacities=opacities.repeat(10), means=scene.means * 0.2)


def orbit_scene(count: int, coefficients: int, views: int, width: int, height: int, log_size: float = -4.0) -> Scene:
    """A cloud in front of cameras that look at it from all sides; float32. log_size: of the smallest Gaussians."""
    g = torch.Generator().manual_seed(count + coefficients)
    means = (torch.rand(count, 3, generator=g) - 0.5) * 1.6
    scales = torch.exp(torch.rand(count, 3, generator=g) * 2 + log_size)
    quats = torch.randn(count, 4, generator=g)
    colors = torch.randn(count, coefficients, 3, generator=g) * 0.5
    if coefficients == 0:
        colors = torch.rand(count, 3, generator=g)
    poses = torch.eye(4).repeat(views, 1, 1)
    rotations = torch.linalg.qr(torch.randn(views, 3, 3, generator=g))[0]
    poses[:, :3, :3] = rotations * torch.linalg.det(rotations).sign()[:, None, None]
    poses[:, :3, 3] = torch.tensor([0.1, -0.05, 3.0])
    intrinsics = torch.tensor([[width * 1.3, width * 1.25, width / 2 + 1, height / 2 - 1]]).repeat(views, 1)
    offsets = torch.rand(views, count, 2, generator=g) - 0.5
    opacities, background = torch.rand(count, generator=g), torch.tensor([1.0, 0.5, 0.2])
    return Scene(means, scales, quats, opacities, colors, poses, intrinsics, width, height, background, offsets)


LEFT, TOP = 41, 30  # where `crop` begins in the picture of `wide_scene`


def wide_scene(dtype: torch.dtype = torch.float64) -> Scene:
    """Large flat Gaussians whose centers lie within the corner of the picture that `crop` cuts out."""
    scene = random_scene(40, 64, 48, views=1, sh=0, seed=2)
    g = torch.Generator().manual_seed(9)
    pixels = torch.rand(40, 2, generator=g, dtype=torch.float64) * torch.tensor((64.0 - LEFT, 48.0 - TOP))
    depth = 2 + 2 * torch.rand(40, generator=g, dtype=torch.float64)
    intrinsics = torch.tensor([[40.0, 42.0, 32.0, 24.0]], dtype=torch.float64)
    ahead = (pixels + torch.tensor((LEFT, TOP)) - intrinsics[0, 2:]) / intrinsics[0, :2] * depth[:, None]
    means = torch.cat((ahead, depth[:, None]), dim=1)
    poses = torch.eye(4, dtype=torch.float64)[None]
    return scene_on(
        scene._replace(means=means, cam_from_world=poses, intrinsics=intrinsics, opacities=0.8 * scene.opacities), dtype
    )


def crop(scene: Scene) -> Scene:
    """The same camera, its picture cut down to the corner beyond (LEFT, TOP): the principal point lies outside."""
    shift = scene.intrinsics.new_tensor((0, 0, LEFT, TOP))
    return scene._replace(width=scene.width - LEFT, height=scene.height - TOP, intrinsics=scene.intrinsics - shift)
