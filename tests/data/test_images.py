"""Sets of images from folders, archives and tables, and what is wrong with them said in a sentence."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from carousel.data import pixels as pixels_file
from carousel.data.images import ImageSet, looks_like_images, read_images, read_to_predict
from carousel.errors import DataError, UsageError

RANDOM = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def picture(path: str, height: int = 6, width: int = 8, mode: str = "RGB") -> np.ndarray:
    """An image of noise in a file; returns its pixels."""
    values = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values).convert(mode)
    image.save(path)
    return np.asarray(image)


def birds(*folders: str, count: int = 3) -> None:
    for name in folders:
        for number in range(count):
            picture(f"{name}/{number}.png")


def refused(words: str, *sources: str, **options) -> None:
    with pytest.raises((DataError, UsageError), match=words) as caught:
        read_images(sources, **options)
    assert "\n" not in str(caught.value)


# -- folders ----------------------------------------------------------------------------------------------------------


def test_labels_that_nobody_needs() -> None:
    for name in ("flat/a", "flat/b", "parts/train/a", "parts/train/b", "parts/test/a", "mixed/wren/a", "mixed/b"):
        picture(f"{name}.png")
    birds("birds/wren", "birds/kite", count=2)
    flat, parts, mixed, both = (read_images([name], need_labels=False) for name in ("flat", "parts", "mixed", "birds"))
    assert (flat.labels, flat.splits) == (["", ""], [None, None])
    assert (parts.labels, parts.splits) == ([""] * 3, ["test", "train", "train"])
    assert (mixed.names, mixed.labels) == (["b.png", "wren/a.png"], ["", ""])
    assert both.labels == ["kite", "kite", "wren", "wren"]
    for name in ("flat", "parts"):
        refused("no folder does.*Only --network autoencoder needs no classes", name)
    assert read_images(["birds"]).labels == both.labels
    pl.DataFrame({"file": ["flat/a.png", "flat/b.png"], "kind": ["x", "y"]}).write_csv("table.csv")
    named = read_images(["table.csv"], need_labels=False, label_column="kind")
    unnamed = read_images(["table.csv"], need_labels=False)
    assert (named.labels, unnamed.labels) == (["x", "y"], ["", ""])
    assert unnamed.where == "table.csv, files in column 'file'"


def test_a_folder_for_each_class() -> None:
    wanted = {name: picture(f"birds/{name}.png") for name in ("wren/b", "wren/a", "house finch/é", "鷹/1", "鷹/2")}
    read = read_images(["birds"])
    assert read.names == ["house finch/é.png", "wren/a.png", "wren/b.png", "鷹/1.png", "鷹/2.png"]
    assert read.labels == ["house finch", "wren", "wren", "鷹", "鷹"]
    for name, found in zip(read.names, read.pixels.read(range(5)), strict=True):
        assert np.array_equal(found, wanted[name.removesuffix(".png")].transpose(2, 0, 1))
    assert (read.name, read.where, read.layout) == ("birds", "3 folders of birds", "folders")
    assert (len(read.pixels), read.pixels.shape) == (5, (3, 6, 8))
    assert read.splits == [None] * 5
    assert (read.groups, read.times, read.columns) == (None, None, {})
    assert read.equal.tolist() == [0, 1, 2, 3, 4]
    assert read.notes == ["The class 'house finch' has one image only: it can be learned or tested, not both."]
    assert looks_like_images(["birds"]) == "birds has images (.png)"


def test_parts_and_folders_inside_classes() -> None:
    birds("set/in/train/wren/2019", "set/in/train/finch", "set/in/val/wren", "set/in/test/wren", "set/in/test/owl")
    read = read_images(["set"])
    assert {(split, label) for split, label in zip(read.splits, read.labels, strict=True)} == {
        ("train", "wren"), ("train", "finch"), ("dev", "wren"), ("test", "wren"), ("test", "owl"),
    }  # fmt: skip
    assert read.notes == [
        'Folders inside a class\'s folder, such as "wren/2019", belong to that class.',
        "The class 'owl' is in test but not in train.",
    ]


def test_several_folders_and_patterns() -> None:
    birds("a/wren", "a/finch", "train/wren", "train/finch", "test/finch", "test/wren")
    assert set(read_images(["a/wren", "a/finch"]).labels) == {"wren", "finch"}
    assert set(read_images(["a/*/*.png"]).labels) == {"wren", "finch"}
    assert set(read_images(["train", "test"]).splits) == {"train", "test"}


def test_what_is_in_no_class_is_left_out() -> None:
    birds("b/wren", "b/finch", "b/test")
    picture("b/loose.jpg")
    Path("b/empty/inner").mkdir(parents=True)
    Path("b/notes.txt").write_text("hello")
    picture("b/.hidden/x.png")
    read = read_images(["b"])
    assert set(read.labels) == {"wren", "finch", "test"}
    assert read.notes == [
        'The folder "test" is taken for a class, because "finch" beside it is none of train, dev and test.',
        "1 image lies in no class's folder but outside of them, and was left out.",
        "1 other file was left out (.txt 1).",
        'There is no image in "b/empty/inner", "b/empty".',
    ]


def test_labels_that_look_the_same_are_the_same() -> None:
    for form, number in (("NFC", 0), ("NFD", 1)):
        picture(f"b/{'train' if number else 'test'}/{unicodedata.normalize(form, 'café')}/{number}.png")
        picture(f"b/{'train' if number else 'test'}/tea/{number}.png")
    assert set(read_images(["b"]).labels) == {"café", "tea"}


def test_no_labels_no_images_one_class() -> None:
    birds("flat")
    refused(r"Nothing says what is on the 3 images: no folder does. Make a folder for each class", "flat")
    Path("b.tar.gz").write_bytes(b"\x1f\x8b")
    refused('"b.tar.gz" is packed. Unpack it', "b.tar.gz")
    birds("one/wren")
    refused(r"All 3 images are of the class 'wren': there is nothing to tell apart", "one")
    Path("empty").mkdir()
    refused(r'There is no image in "empty", it is empty', "empty")
    Path("text").mkdir()
    Path("text/a.txt").write_text("hello")
    Path("text/b.zip").write_text("hello")
    refused(r'no image in "text" \(it has 1 .txt, 1 .zip\).*Unpack the .zip archives first', "text")
    refused('There is no file or folder "nothing"', "nothing")
    refused("The list of images is empty")
    for name in "abc":
        picture(f"single/{name}/1.png")
    refused(r"3 different ones for 3 images; a class needs several images. Give more of each", "single")


def test_what_is_not_images() -> None:
    Path("code").mkdir()
    for number in range(3):
        Path(f"code/{number}.py").write_text("pass")
    picture("code/logo.png")
    Path("t.csv").write_text("text,label\nhello,a\nyou,b\n")
    Path("web.csv").write_text("image,label\nhttp://a.org/b.png,a\nhttp://a.org/c.png,b\n")
    for source in ("code", "t.csv", "web.csv", "nothing", "python-stdlib", "x" * 5000, "~nobody/x", "\0"):
        assert looks_like_images([source]) is None


def test_links() -> None:
    birds("b/wren", "b/finch")
    secret = picture("elsewhere/secret.png")
    Path("b/wren/inside.png").symlink_to(Path("0.png"))
    Path("b/readme").symlink_to("/etc/hostname")  # no image, so it does not matter where it leads
    read = read_images(["b"])
    assert len(read.labels) == 7
    Path("b/wren/x.png").symlink_to(Path("elsewhere/secret.png").absolute())
    refused(
        r'"b/wren/x.png" cannot be used: it is a symbolic link that leads out of the folder, to ".*secret.png"', "b"
    )
    Path("b/all").symlink_to(Path("elsewhere").absolute())
    Path("b/wren/loop").symlink_to(Path("..").absolute())
    Path("b/wren/gone.png").symlink_to("nowhere.png")
    refused(r"4 of 11 images cannot be used: .*leads nowhere.*--unreadable skip", "b")
    read = read_images(["b"], unreadable="skip")
    assert len(read.labels) == 7
    assert not any(np.array_equal(image, secret.transpose(2, 0, 1)) for image in read.pixels.array)
    assert "Left out, because they cannot be used: 4 images" in "".join(read.notes)
    Path("link").symlink_to("b")  # the folder itself may be a link
    assert len(read_images(["link"], unreadable="skip").labels) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission() -> None:
    birds("b/wren", "b/finch")
    Path("b/wren").chmod(0)
    try:
        refused('"b/wren" cannot be opened: Permission denied', "b")
    finally:
        Path("b/wren").chmod(0o700)


def test_archives() -> None:
    birds("b/train/wren", "b/train/finch", "b/test/wren")
    with zipfile.ZipFile("b.zip", "w") as archive:
        for file in sorted(Path("b").rglob("*.png")):
            archive.write(file)
        archive.writestr("__MACOSX/b/._x.png", b"")
        archive.writestr("b/readme.txt", b"")
    packed, plain = read_images(["b.zip"]), read_images(["b"])
    assert np.array_equal(packed.pixels.array, plain.pixels.array)
    assert (packed.labels, packed.splits) == (plain.labels, plain.splits)
    assert packed.files == [Path("b.zip")]
    assert looks_like_images(["b.zip"]) == "b.zip has images (.png)"


# -- unreadable ones --------------------------------------------------------------------------------------------------


def damage(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:60])


def test_unreadable_images_stop_or_are_skipped() -> None:
    birds("b/wren", "b/finch", count=4)
    whole = read_images(["b"])
    damage("b/wren/2.png")
    refused(
        r'"b?/?wren/2.png" cannot be used: it is (truncated|damaged).*leave such images out with --unreadable skip', "b"
    )
    Path("b/finch/0.png").write_bytes(b"")
    refused(r'2 of 8 images cannot be used: "finch/0.png" \(it is empty\), "wren/2.png" \(', "b")
    read = read_images(["b"], unreadable="skip")
    kept = [1, 2, 3, 4, 5, 7]
    assert read.names == [whole.names[row] for row in kept]
    assert read.labels == [whole.labels[row] for row in kept]
    assert np.array_equal(read.pixels.array, whole.pixels.read(kept))
    assert any(note.startswith('Left out, because they cannot be used: 2 images, "finch/0.png"') for note in read.notes)
    for number in range(4):
        damage(f"b/wren/{number}.png")
    refused("All 3 images are of the class 'finch'", "b", unreadable="skip")
    for number in range(4):
        damage(f"b/finch/{number}.png")
    refused("8 of 8 images cannot be used: .* and 3 more. Mend or remove them.$", "b", unreadable="skip")


# -- size, modes, copies ----------------------------------------------------------------------------------------------


def test_sizes() -> None:
    birds("same/wren", "same/finch")
    assert read_images(["same"]).pixels.shape == (3, 6, 8)
    assert read_images(["same"], size=[4, 5]).pixels.shape == (3, 4, 5)  # as a file of settings has it
    assert read_images(["same"], size=5).pixels.shape == (3, 5, 5)
    read = read_images(["same"], size=(4, 10), channels=1)
    assert read.pixels.shape == (1, 4, 10)
    assert read.notes == ["Brought to 4 × 10 pixels: 6 images, 6 of them cut to the shape around their center."]
    for number, (height, width) in enumerate([(30, 40), (33, 33), (500, 300), (40, 29)]):
        for name in ("wren", "finch"):
            picture(f"mixed/{name}/{number}.png", height, width)
    read = read_images(["mixed"])
    assert read.pixels.shape == (3, 28, 28)  # the shorter sides are 30, 33, 300, 29
    assert read.notes == [
        "The images have different sizes, from 33 × 33 to 500 × 300 pixels; they are used at 28 × 28. Choose another "
        "with --size.",
        "Brought to 28 × 28 pixels: 8 images, 6 of them cut to the shape around their center.",
    ]
    for name in ("wren", "finch"):
        for number in range(2):
            picture(f"large/{name}/{number}.png", 300, 450)
    read = read_images(["large"])
    assert read.pixels.shape == (3, 64, 96)
    assert read.notes[0].startswith("All images have 300 × 450 pixels (height × width); they are used at 64 × 96.")
    refused("size of images is 0, but must be", "same", size=0)
    refused(r"size of images is \(3, 9999\), but must be", "same", size=(3, 9999))
    refused("cannot have 2 channels", "same", channels=2)
    refused('no "ask"; use "stop"', "same", unreadable="ask")


def test_modes() -> None:
    for name in ("wren", "finch"):
        for number, mode in enumerate(("L", "L", "1")):
            picture(f"gray/{name}/{number}.png", mode=mode)
    read = read_images(["gray"])
    assert read.pixels.shape == (1, 6, 8)
    assert read.notes == ["The modes of the images are mixed (4 L, 2 1); all became gray."]
    picture("gray/wren/9.png", mode="RGB")
    read = read_images(["gray"])
    assert read.pixels.shape == (3, 6, 8)
    assert read.notes == ["The modes of the images are mixed (4 L, 2 1, 1 RGB); all became RGB."]


def test_what_was_done_is_said_with_a_name() -> None:
    birds("b/wren", "b/finch")
    Image.new("RGBA", (8, 6), (9, 9, 9, 100)).save("b/wren/x.png")
    Image.fromarray(np.full((6, 8), 4000, np.uint16)).save("b/wren/y.png")
    notes = read_images(["b"]).notes
    assert 'Laid on white, because parts are transparent: 1 image, such as "wren/x.png".' in notes
    assert 'Reduced from 16 bits to 8: 1 image, such as "wren/y.png".' in notes
    assert any(note.startswith("Almost black in 8 bits") for note in notes)


def test_copies_across_parts_are_leakage() -> None:
    birds("b/train/wren", "b/train/finch", "b/test/wren", "b/test/finch")
    for copy in ("b/test/wren/copy.png", "b/test/finch/copy.png"):
        Path(copy).write_bytes(Path("b/train/wren/1.png").read_bytes())
    with Image.open("b/train/finch/0.png") as image:  # the same pixels in another format
        image.save("b/test/finch/other.bmp")
    read = read_images(["b"])
    assert read.notes[0] == (
        'Leakage: 3 images of test are in train too, pixel for pixel, such as "train/wren/1.png" (train) and '
        '"test/finch/copy.png" (test).'
    )
    assert "Equal pixels, but different labels: 2 images" in read.notes[1]
    rows = {name: row for row, name in enumerate(read.names)}
    assert read.equal[rows["test/wren/copy.png"]] == read.equal[rows["train/wren/1.png"]]
    assert len(np.unique(read.equal)) == 12
    Path("c/wren").mkdir(parents=True)
    birds("c/wren", "c/finch")
    Path("c/wren/9.png").write_bytes(Path("c/wren/1.png").read_bytes())
    assert read_images(["c"]).notes == [
        '1 image is the same as another, pixel for pixel, such as "wren/9.png" and "wren/1.png".'
    ]


# -- tables -----------------------------------------------------------------------------------------------------------


def table(**columns: list) -> str:
    pl.DataFrame(columns).write_csv("labels.csv")
    return "labels.csv"


def test_a_table_of_paths() -> None:
    names = [f"images/{number}.png" for number in range(6)]
    for name in names:
        picture(name)
    source = table(
        file=names, species=["wren", "a finch"] * 3, split=["train"] * 4 + ["test"] * 2, place=list("aabbcc"),
        day=[f"2020-01-0{day}" for day in range(1, 7)],
    )  # fmt: skip
    read = read_images([source], group_column="place", time_column="day")
    assert (read.names, read.labels) == (names, ["wren", "a finch"] * 3)
    assert read.splits == ["train"] * 4 + ["test"] * 2
    assert read.groups == list("aabbcc")
    assert read.times is not None
    assert read.times[1] == np.datetime64("2020-01-02")
    assert read.where == "labels.csv, files in column 'file', label in 'species', parts in 'split'"
    assert read.columns == {
        "path_column": "file", "label_column": "species", "split_column": "split", "group_column": "place",
        "time_column": "day",
    }  # fmt: skip
    assert looks_like_images([source]) == "\"labels.csv\" names image files in its column 'file'"
    assert read_images(["."]).layout == "table"  # the folder with the table and the images
    pl.read_csv(source).write_parquet("other.parquet")
    assert read_images(["other.parquet"]).labels == read.labels


def test_paths_beside_the_table_with_backslashes_and_without_a_header() -> None:
    for number in range(6):
        picture(f"pictures/deep/{number}.png")
    Path("t.csv").write_text("".join(f"deep\\{number}.png,{number % 2}\n" for number in range(6)))
    read = read_images(["t.csv"])
    assert read.labels == ["0", "1"] * 3
    assert read.notes == ['The paths in "t.csv" are taken as relative to the folder "pictures" beside it.']


def test_rows_of_unreadable_images_are_left_out_everywhere() -> None:
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        picture(name)
    Path("2.png").unlink()
    source = table(path=names, label=list("ababab"), group=list("uvwxyz"), when=[2000.5, 1, 2, 3, 4, 5])
    refused(r'"2.png" cannot be used: there is no such file', source)
    read = read_images([source], unreadable="skip", group_column="group", time_column="when")
    assert read.groups == list("uvxyz")
    assert read.labels == list("abbab")
    assert read.times is not None
    assert len(read.times) == len(read.splits) == len(read.pixels) == len(read.equal) == 5


def test_bad_tables() -> None:
    birds("images")
    names = [f"images/{number}.png" for number in range(3)] * 2
    refused(r"no column 'sort' \(--label-column\)", table(path=names, kind=list("ababab")), label_column="sort")
    refused(r"no column 'day' \(--time-column\)", table(path=names, kind=list("ababab")), time_column="day")
    refused("One|There is no label in row 2", table(path=names, kind=["a", None, "b", "a", "b", "a"]))
    refused("2 rows have no path; the first is row 1", table(path=[None, None, *names], kind=list("abababab")))
    source = table(a=list("uvwuvw"), b=list("xyxyxy"))
    refused(r"no column whose entries end like image files.*--path-column", source, unreadable="skip")
    source = table(path=names, b=[1.5, 2.5, 3.25, 4.5, 5.5, 6.5], c=[1.5, 2.5, 3.25, 4.5, 5.5, 6.5])
    refused(r"no column that looks like labels; name it with --label-column", source)
    refused(r"--label-column kind is about tables of image files, but images is none", "images", label_column="kind")


# -- many images ------------------------------------------------------------------------------------------------------


def same(one: ImageSet, other: ImageSet) -> bool:
    equal = np.array_equal(one.pixels.array, other.pixels.array) and np.array_equal(one.equal, other.equal)
    return equal and (one.names, one.labels, one.notes) == (other.names, other.labels, other.notes)


def test_large_sets_lie_in_the_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    birds("b/wren", "b/finch", count=100)  # several blocks
    picture("b/wren/gray.png", mode="L")
    damage("b/finch/50.png")
    in_memory = read_images(["b"], unreadable="skip")
    assert not cache.exists()
    monkeypatch.setattr(pixels_file, "_IN_MEMORY", 1000)
    monkeypatch.setattr(pixels_file, "workers", lambda: 4)
    calls: list[tuple[int, int]] = []
    first = read_images(["b"], unreadable="skip", progress=lambda done, count: calls.append((done, count)))
    assert isinstance(first.pixels.array.base, np.memmap) or isinstance(first.pixels.array, np.memmap)
    assert same(in_memory, first)
    assert calls[-1] == (201, 201)
    (entry,) = (cache / "images").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(pixels_file, "decode", None)  # nothing is decoded again
        assert same(first, read_images(["b"], unreadable="skip"))
        refused('"finch/50.png" cannot be used', "b")
    (entry / "digests.npy").write_bytes(b"damaged")
    assert same(first, read_images(["b"], unreadable="skip"))
    picture("b/wren/0.png")  # other content, other place
    assert not same(first, read_images(["b"], unreadable="skip"))
    assert len(list((cache / "images").iterdir())) == 2
    with pytest.raises((ValueError, TypeError)):
        first.pixels.array[0] = 0


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    birds("b/wren", "b/finch")
    monkeypatch.setattr(pixels_file, "_IN_MEMORY", 0)
    cache.write_text("a file, not a folder")
    read = read_images(["b"])
    assert len(read.pixels) == 6
    assert "cannot be written" in read.notes[-1]
    assert "Set CAROUSEL_CACHE to a folder with space." in read.notes[-1]


def test_only_few_images_are_open_or_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    birds("b/wren", "b/finch", count=40)
    monkeypatch.setattr(pixels_file, "_BLOCK", 4)
    under_way, most = set(), 0

    def counting(picture, size, channels):
        nonlocal most
        under_way.add(picture)
        most = max(most, len(under_way))
        result = real(picture, size, channels)
        under_way.discard(picture)
        return result

    real = pixels_file.decode
    monkeypatch.setattr(pixels_file, "decode", counting)
    assert len(read_images(["b"]).pixels) == 80
    assert 1 <= most <= 8


@pytest.mark.slow
def test_a_hundred_thousand_files(cache: Path) -> None:
    picture("b/wren/0.png", 8, 8, "L")
    picture("b/finch/0.png", 8, 8, "L")
    contents = {name: Path(f"b/{name}/0.png").read_bytes() for name in ("wren", "finch")}
    for name, content in contents.items():
        for number in range(1, 50_000):
            Path(f"b/{name}/{number}.png").write_bytes(content)
    read = read_images(["b"], size=8)
    assert read.pixels.array.shape == (100_000, 1, 8, 8)
    assert len(np.unique(read.equal)) == 2


# -- prediction -------------------------------------------------------------------------------------------------------


def test_images_to_predict_for() -> None:
    birds("b/wren", "b/finch", "flat")
    names, images, labels = read_to_predict("b/wren/0.png", size=6, channels=3)
    assert (names, labels, images.shape) == (["0.png"], None, (1, 3, 6, 6))
    names, images, labels = read_to_predict("flat", size=(6, 8), channels=3)
    assert (names, labels, images.shape) == (["0.png", "1.png", "2.png"], None, (3, 3, 6, 8))
    names, _, labels = read_to_predict("b", size=4, channels=1)
    assert labels == ["finch"] * 3 + ["wren"] * 3
    damage("flat/1.png")
    notes: list[str] = []
    names, _, _ = read_to_predict("flat", size=4, channels=1, unreadable="skip", notes=notes)
    assert names == ["0.png", "2.png"]
    assert notes[0].startswith('Left out, because they cannot be used: 1 image, "1.png"')
    with pytest.raises(DataError, match="cannot be used"):
        read_to_predict("flat", size=4, channels=1)
    source = table(file=["b/wren/0.png", "b/finch/1.png"], kind=["wren", "finch"])
    assert read_to_predict(source, size=4, channels=1)[2] is None
    assert read_to_predict(source, size=4, channels=1, label_column="kind")[2] == ["wren", "finch"]
    assert read_to_predict(source, size=4, channels=1, label_column="other")[2] is None
