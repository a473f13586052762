"""Photographs that nothing is known of: which there are, and reading them a few at a time, however many there are."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from gaussian_splatting.images import PICTURE_SUFFIXES
from gaussian_splatting.parallel import parallel
from PAD_utils.data.framing import Framing, query_framing
from PAD_utils.data.intrinsics import Lens, LensSpec
from PAD_utils.data.listing import list_pictures, note_left_out, subfolders
from PAD_utils.data.mad import ClassData, Sample, Source, check_names, is_cut_out
from PAD_utils.errors import UserError

ALONE = "images"  # the kind that photographs of no part are filed under
AT_ONCE = 64  # photographs that are in memory together
_PIXELS_AT_ONCE = AT_ONCE * 800 * 800  # fewer photographs where they are larger

_log = logging.getLogger(__name__)


class Photograph(NamedTuple):
    """A picture file and the part that it shows, by name; None: one of its own."""

    part: str | None
    path: Path

    @property
    def defect(self) -> str:
        """The kind that it is filed under in all results."""
        return self.part or ALONE

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return self.path.stem

    @property
    def key(self) -> str:
        """As in poses.json."""
        return f"{self.defect}/{self.name}.png"


@dataclass(frozen=True)
class QuerySetting:
    """How photographs are read: as `Source` says, held against training pictures of this lens, cut out or not."""

    lens: Lens
    cut_out: bool
    resolution: int | None = None
    query_lens: LensSpec | None = None

    @staticmethod
    def of(data: ClassData, source: Source) -> "QuerySetting":
        """That of a class."""
        return QuerySetting(data.lens, is_cut_out(data.gallery), source.resolution, source.query_lens)


@dataclass(frozen=True)
class Loaded:
    """What was read of a photograph: the sample and a short hash of the file, or why there is none. `guess`: what has
    to be said of the camera, which was not known."""

    photograph: Photograph
    content: str = ""
    sample: Sample | None = None
    guess: str | None = None
    unreadable: str | None = None


def list_photographs(place: Path) -> list[Photograph]:
    """The photographs of a folder, of the parts that its subfolders are, or of a text file that names one a line
    (relative to its own folder; empty lines and those that begin with # are skipped).

    Raises UserError when there is none, or when two would share their results.
    """
    found = _listed(place) if place.is_file() else [Photograph(None, path) for path in list_pictures(place)]
    for name in subfolders(place):
        found += [Photograph(name, path) for path in list_pictures(place / name)]
    if not found:
        raise UserError(f"--images {place} holds no pictures (PNG, JPEG, WebP, BMP, TIFF or HEIC)")
    if place.is_dir():
        note_left_out(place, [photograph.path for photograph in found])
        for name in subfolders(place):
            note_left_out(place / name)
    check_names((f"{photograph.defect}/{photograph.name}" for photograph in found), place)
    parts = len({photograph.part for photograph in found} - {None})
    of_parts = f" of {parts} parts" if parts else ""
    _log.info("%d pictures to inspect%s in %s", len(found), of_parts, place)
    return found


def file_hash(path: Path) -> str:
    """A short hash of a file's content; "" where it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
    except OSError:
        return ""


def read_in_turn(photographs: Sequence[Photograph], setting: QuerySetting) -> Iterator[list[Loaded]]:
    """The photographs in order, as many at a time as memory should hold."""
    for first in range(0, len(photographs), AT_ONCE):
        framed = parallel(lambda photograph: _framed(photograph, setting), photographs[first : first + AT_ONCE])
        for some in _not_too_large(framed):
            yield parallel(lambda one: _read(*one, setting.cut_out), some)


def load_queries(photographs: Sequence[Photograph], setting: QuerySetting) -> list[Sample]:
    """All of them at once, for few. Raises UserError, naming the file, when one cannot be read."""
    loaded = [one for some in read_in_turn(photographs, setting) for one in some]
    for one in loaded:
        if one.unreadable is not None:
            raise UserError(one.unreadable)
    return [one.sample for one in loaded if one.sample is not None]


def framed_size(photograph: Photograph, setting: QuerySetting) -> tuple[int, int] | None:
    """(width, height) at which it is compared; None where it cannot be read."""
    framing = _framed(photograph, setting)[1]
    return None if framing is None else framing.size


def _listed(place: Path) -> list[Photograph]:
    try:
        lines = place.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--images {place} is no folder and no list of pictures, one a line ({error})") from None
    paths = [place.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]
    wrong = next((path for path in paths if path.suffix.lower() not in PICTURE_SUFFIXES), None)
    if wrong is not None:
        raise UserError(f"--images {place} names {wrong}, which is no picture by its name; list one picture a line")
    return [Photograph(None, path) for path in paths]


def _framed(photograph: Photograph, setting: QuerySetting) -> tuple[Loaded, Framing | None]:
    """How the photograph is to be read, by its header alone."""
    like = setting.lens
    try:
        framing, said = query_framing(photograph.path, setting.resolution, like, None, setting.query_lens)
    except UserError as error:
        return Loaded(photograph, unreadable=str(error)), None
    lens = framing.lens
    guess = None if said is None else f"{lens.width}x{lens.height} pixels, not {like.width}x{like.height}: {said}"
    return Loaded(photograph, guess=guess), framing


def _read(loaded: Loaded, framing: Framing | None, cut_out: bool) -> Loaded:
    if framing is None:
        return loaded
    path = loaded.photograph.path
    content = file_hash(path)  # first: a file that changes while it is read is not taken for done
    try:
        image = torch.from_numpy(framing.read(path))
        uncut = framing.read_photograph(path) if cut_out else None
    except UserError as error:
        return replace(loaded, guess=None, unreadable=str(error))
    whole = None if uncut is None else torch.from_numpy(uncut)
    kind, name = loaded.photograph.defect, loaded.photograph.name
    return replace(loaded, content=content, sample=Sample(kind, name, image, None, framing.camera, uncut=whole))


def _not_too_large(
    framed: Sequence[tuple[Loaded, Framing | None]],
) -> Iterator[list[tuple[Loaded, Framing | None]]]:
    """The same in groups of at most _PIXELS_AT_ONCE, or of one."""
    some: list[tuple[Loaded, Framing | None]] = []
    pixels = 0
    for loaded, framing in framed:
        more = 0 if framing is None else framing.size[0] * framing.size[1]
        if some and pixels + more > _PIXELS_AT_ONCE:
            yield some
            some, pixels = [], 0
        some.append((loaded, framing))
        pixels += more
    yield some
