"""Weight files of networks, read safely."""

from pathlib import Path

from torch import Tensor

from gaussian_splatting.tensor_files import load_torch
from PAD_utils.errors import UserError


def read_state_dict(path: Path, option: str = "--weights") -> dict[str, Tensor]:
    """The tensors of a torch weight file, also when wrapped in a dict under "state_dict" or "model".

    Only tensors and plain containers are unpickled. Raises UserError, naming the file and the command-line `option`
    that gave it, when it is missing or unfit.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file")
    try:
        content = load_torch(path)
    except Exception as error:  # noqa: BLE001 - unpickling foreign bytes raises nearly anything
        reason = str(error).split("\n")[0][:120]
        raise UserError(f"{option} {path}: not a torch weight file, or cut short ({reason})") from error
    if isinstance(content, dict):
        content = content.get("state_dict", content.get("model", content))
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{option} {path}: holds no state dict (names to tensors); save model.state_dict()")
    return {str(k).removeprefix("module."): v for k, v in content.items()}
