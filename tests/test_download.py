import shutil
import stat
import sys
import types
import zipfile
from pathlib import Path

import pytest

import prepare_lego_ad
from PAD_utils.data.download import LOFTR_CHECKPOINT, MAD_SIM, fetch_mad_sim, fetch_retrieval_models, unpack
from PAD_utils.errors import UserError, short_reason
from tests.fake_class import NAME


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch):
    """Puts a Google Drive of our own in place of gdown: set `serve` to the file to hand out, or to an error."""
    fake = types.SimpleNamespace(serve=None, asked=[])

    def download(id: str, output: str, **_: object) -> str | None:
        fake.asked.append(id)
        if isinstance(fake.serve, Exception):
            raise fake.serve
        if fake.serve is None:
            return None
        shutil.copyfile(fake.serve, output)
        return output

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    return fake


@pytest.fixture
def archive(fake_mad: Path, tmp_path: Path) -> Path:
    """The class zipped within folders of no interest."""
    path = tmp_path / "served.zip"
    with zipfile.ZipFile(path, "w") as content:
        for file in sorted((fake_mad / NAME).rglob("*")):
            content.write(file, Path("MAD") / "Sim" / NAME / file.relative_to(fake_mad / NAME))
        content.writestr("__MACOSX/._x", b"")
    return path


def test_classes_arrive_whole_and_nothing_else_stays(drive, archive: Path, tmp_path: Path) -> None:
    drive.serve = archive
    data_path = fetch_mad_sim(tmp_path / "MAD-Sim", (NAME,))
    assert [p.name for p in data_path.iterdir()] == [NAME]
    assert len(list((data_path / NAME / "train" / "good").iterdir())) == 18 and drive.asked == [MAD_SIM.id]
    fetch_mad_sim(data_path, (NAME,))
    assert len(drive.asked) == 1  # nothing is fetched twice


def test_a_file_in_the_place_of_the_folder_is_said(drive, archive: Path, tmp_path: Path) -> None:
    drive.serve = archive
    (tmp_path / "MAD-Sim").write_text("in the way")
    with pytest.raises(UserError, match=r"MAD-Sim could not be written \(File exists\)"):
        fetch_mad_sim(tmp_path / "MAD-Sim", (NAME,))


def test_no_network_is_one_line_with_the_way_round(drive, tmp_path: Path) -> None:
    drive.serve = OSError("Name or service not known\nand more")
    with pytest.raises(UserError, match=r"Name or service not known\).*--data_path") as caught:
        fetch_mad_sim(tmp_path / "MAD-Sim", (NAME,))
    assert "\n" not in str(caught.value) and MAD_SIM.id in str(caught.value)
    drive.serve = None
    with pytest.raises(UserError, match="could not be fetched"):
        fetch_mad_sim(tmp_path / "MAD-Sim", (NAME,))


def test_a_page_instead_of_the_file_is_said_and_removed(drive, tmp_path: Path) -> None:
    drive.serve = tmp_path / "page.html"
    drive.serve.write_text("<html>Too many users have viewed or downloaded this file recently.</html>")
    with pytest.raises(UserError, match="no zip file"):
        fetch_mad_sim(tmp_path / "MAD-Sim", (NAME,))
    assert not list((tmp_path / "MAD-Sim").iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("harm", ["flipped", "cut"])
def test_a_broken_zip_is_said(tmp_path: Path, method: int, harm: str) -> None:
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    content[120] ^= 0xFF
    path.write_bytes(content if harm == "flipped" else content[:200])
    with pytest.raises(UserError, match="not a whole zip"):
        unpack(path, tmp_path / "out")


def test_missing_classes_are_listed(drive, archive: Path, tmp_path: Path) -> None:
    drive.serve = archive
    with pytest.raises(UserError, match="lacks the classes 07Owl"):
        fetch_mad_sim(tmp_path / "MAD-Sim", (NAME, "07Owl"))
    assert not [p for p in (tmp_path / "MAD-Sim").iterdir() if p.is_dir()]


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_entries_that_reach_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("fine.txt", b"fine")
        content.writestr(zipfile.ZipInfo(name), b"evil")
    with pytest.raises(UserError, match="written elsewhere"):
        unpack(path, tmp_path / "in" / "out")
    assert not (tmp_path / "in").exists() and not (tmp_path / "evil.txt").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as content:
        content.writestr(link, "/etc")
    with pytest.raises(UserError, match="written elsewhere"):
        unpack(path, tmp_path / "out")


def test_the_retrieval_models(drive, tmp_path: Path) -> None:
    drive.serve = tmp_path / "model.zip"
    with zipfile.ZipFile(drive.serve, "w") as content:
        content.writestr(f"model/{LOFTR_CHECKPOINT}", b"weights")
    checkpoint = fetch_retrieval_models(tmp_path / "model")
    assert checkpoint == tmp_path / "model" / LOFTR_CHECKPOINT and checkpoint.read_bytes() == b"weights"
    assert fetch_retrieval_models(tmp_path / "model") == checkpoint and len(drive.asked) == 1
    with zipfile.ZipFile(drive.serve, "w") as content:
        content.writestr("model/other.ckpt", b"weights")
    with pytest.raises(UserError, match=f"holds no {LOFTR_CHECKPOINT}"):
        fetch_retrieval_models(tmp_path / "empty")


def test_the_script_says_it_in_one_line(drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive.serve = OSError("no route to host")
    assert prepare_lego_ad.main(["--download", "--data_path", str(tmp_path / "MAD-Sim")]) == 2
    assert "no route to host" in capsys.readouterr().err.splitlines()[-1]


def test_why_the_network_failed_is_said_in_a_few_words() -> None:
    wrapped = (
        "HTTPSConnectionPool(host='drive.google.com', port=443): Max retries exceeded with url: /uc?id=1XlW (Caused by "
        'NameResolutionError("<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve '
        "'drive.google.com' ([Errno -3] Temporary failure in name resolution)\"))"
    )
    assert short_reason(OSError(wrapped)) == "Temporary failure in name resolution"
    assert short_reason(OSError("<urlopen error [Errno 111] Connection refused>")) == "Connection refused"
    assert short_reason(ValueError()) == "ValueError" and len(short_reason(OSError("x " * 999))) == 120
