"""The folder that an inspector is saved to: point_cloud.ply, tensors.pt, and inspector.json, which is written last."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.parallel import parallel
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.tensor_files import load_torch, torch_bytes
from PAD_utils.errors import UserError
from PAD_utils.files import check_sum, explaining, read_bytes, read_checked_json, write_bytes, write_checked_json
from PAD_utils.pose.retrieval import Bank
from PAD_utils.pose.silhouette import Thumbnails
from PAD_utils.score.calibration import Calibration
from PAD_utils.score.local_normality import LocalNormality
from PAD_utils.score.noise import NoiseResponse
from PAD_utils.score.normality import Normality
from PAD_utils.score.parts import Evidence
from PAD_utils.score.usual import Usual

_VERSION = 9  # raise it when the content changes: what an older version saved is then refused by name
_LEARNED = {"normality": Normality, "local": LocalNormality, "places": Evidence}  # of Usual, each of tensors alone
_JSON, _TENSORS, _MODEL = "inspector.json", "tensors.pt", "point_cloud.ply"


@dataclass(frozen=True)
class Saved:
    """An inspector as it lies in a folder. `parts`: the names of features, retriever and refiner; `config`: plain
    values."""

    gaussians: Gaussians
    bank: Bank | None
    usual: Usual
    calibration: Calibration | None
    parts: dict[str, str]
    config: dict[str, Any]
    surroundings: Gaussians | None = None


def write_inspector(folder: Path, saved: Saved) -> None:
    """Writes the folder. What is there is not taken for an inspector before all of it is new."""
    usual = saved.usual
    learned = {name: part and vars(part) for name, part in vars(usual).items() if name in _LEARNED}
    around = saved.surroundings and saved.surroundings.as_dict()
    tensors = {"bank": _bank_tensors(saved.bank), "surroundings": around, **learned}

    def write_model() -> str:
        save_ply(folder / _MODEL, saved.gaussians)
        return check_sum(read_bytes(folder / _MODEL))

    def write_tensors() -> str:
        written = torch_bytes(_on_cpu(tensors))
        write_bytes(folder / _TENSORS, written)
        return check_sum(written)

    with explaining(folder):
        (folder / _JSON).unlink(missing_ok=True)
        sums = parallel(lambda write: write(), (write_model, write_tensors))
    content = {
        "version": _VERSION,
        "sums": dict(zip((_MODEL, _TENSORS), sums, strict=True)),
        **{name: getattr(saved, name) for name in ("parts", "config")},
        "response": usual.response and asdict(usual.response),
        "seen_scores": usual.seen_scores,
        "held_out_scores": usual.held_out_scores,
        "calibration": saved.calibration and asdict(saved.calibration),
    }
    write_checked_json(folder / _JSON, content)


def read_inspector(folder: Path, device: torch.device) -> Saved:
    """Reads what `write_inspector` wrote. Raises UserError, naming the file and the mend, when that is not there."""
    content = read_checked_json(folder / _JSON)
    try:
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}, expected {_VERSION}")
        _compare_sums(folder, content["sums"])
        tensors, gaussians = load_torch(folder / _TENSORS, device), load_ply(folder / _MODEL)
        _compare_sums(folder, content["sums"])  # again: another inspector may have been saved there meanwhile
        usual = Usual(
            tensors["normality"] and Normality(**tensors["normality"]),
            tensors["local"] and LocalNormality(**tensors["local"]),
            content["response"] and NoiseResponse(**content["response"]),
            content["seen_scores"],
            content["held_out_scores"],
            tensors["places"] and Evidence(**tensors["places"]),
        )
        return Saved(
            gaussians.to(device),
            tensors["bank"] and _bank(tensors["bank"]),
            usual,
            content["calibration"] and Calibration(**content["calibration"]),
            content["parts"],
            content["config"],
            tensors["surroundings"] and Gaussians(**tensors["surroundings"]),
        )
    except Exception as error:  # files that were edited or cut may be wrong in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{folder} holds no inspector that can be read ({reason}); save it again") from error


def _compare_sums(folder: Path, sums: dict[str, str]) -> None:
    for name, expected in sums.items():
        if check_sum(read_bytes(folder / name)) != expected:
            raise ValueError(f"{name} was changed since")


def _bank_tensors(bank: Bank | None) -> dict[str, Tensor] | None:
    """Thumbnails are kept in half precision; `BankRetriever` has rounded them to it."""
    if bank is None:
        return None
    tensors = {**vars(bank.thumbnails), "cam_from_world": bank.cam_from_world, "distance": bank.distance}
    return {**tensors, "polar": tensors["polar"].half()}


def _bank(tensors: dict[str, Tensor]) -> Bank:
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    cam_from_world, distance = tensors.pop("cam_from_world"), tensors.pop("distance")
    return Bank(Thumbnails(**tensors), cam_from_world, distance)


def _on_cpu(content: Any) -> Any:
    """Nested dicts and lists with every tensor on the CPU."""
    if isinstance(content, dict):
        return {name: _on_cpu(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_on_cpu(value) for value in content]
    return content.cpu() if isinstance(content, Tensor) else content
