"""IDX and CIFAR: what is written comes back, and files that are not what they say are refused in a sentence."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from carousel.data.cifar import CIFAR10, cifar_labels, is_pickle, read_cifar
from carousel.data.idx import idx_header, read_idx
from carousel.data.images import looks_like_images, read_images, read_to_predict
from carousel.errors import DataError

SHARED = Path("/work/shared/data")
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def idx(values: np.ndarray, name: str, kind: int = 8) -> Path:
    content = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content += values.astype({8: ">u1", 11: ">i2", 13: ">f4"}[kind]).tobytes()
    Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return Path(name)


def mnist(train: int = 20, test: int = 6, end: str = ".gz") -> tuple[np.ndarray, np.ndarray]:
    images = RANDOM.integers(0, 256, (train + test, 5, 4), np.uint8)
    labels = np.arange(train + test) % 3
    for part, rows in (("train", slice(train)), ("t10k", slice(train, None))):
        idx(images[rows], f"{part}-images-idx3-ubyte{end}")
        idx(labels[rows], f"{part}-labels-idx1-ubyte{end}")
    return images, labels


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_comes_back_with_labels_and_parts(end: str) -> None:
    images, labels = mnist(end=end)
    read = read_images(["."])
    assert np.array_equal(read.pixels.array[:, 0], images)
    assert read.labels == list(map(str, labels))
    assert read.splits == ["train"] * 20 + ["test"] * 6
    assert (read.layout, read.pixels.shape) == ("idx", (1, 5, 4))
    assert (read.names[3], read.names[-1]) == ("train-images #3", "t10k-images #5")
    assert len(read.files) == 4
    assert read.notes == []
    assert looks_like_images(["."]) is not None
    assert np.array_equal(read.pixels.read([25, 0]), images[[25, 0]][:, None])


def test_idx_read_in_several_pieces() -> None:
    images = RANDOM.integers(0, 256, (2500, 2, 3), np.uint8)
    idx(images, "train-images-idx3-ubyte")
    idx(np.arange(2500) % 7, "train-labels-idx1-ubyte")
    assert np.array_equal(read_images(["train-images-idx3-ubyte"]).pixels.array[:, 0], images)


def test_the_file_of_images_finds_its_labels() -> None:
    images, labels = mnist()
    names, pixels, found = read_to_predict("t10k-images-idx3-ubyte.gz", size=(5, 4), channels=1)
    assert found == list(map(str, labels[20:]))
    assert np.array_equal(pixels[:, 0], images[20:])
    assert names[0] == "t10k-images #0"
    Path("t10k-labels-idx1-ubyte.gz").unlink()
    assert read_to_predict("t10k-images-idx3-ubyte.gz", size=(5, 4), channels=3)[2] is None
    with pytest.raises(DataError, match=r"no labels for the images.*Put the file of labels beside it"):
        read_images(["t10k-images-idx3-ubyte.gz"])


def test_idx_in_color_and_unpacked_beside_packed() -> None:
    images = RANDOM.integers(0, 256, (9, 4, 4, 3), np.uint8)
    idx(images, "some.train.images.idx4-ubyte")
    idx(images, "some.train.images.idx4-ubyte.gz")
    idx(np.arange(9) % 2 - 300, "some.train.labels.idx1-ubyte", 11)
    read = read_images(["."])
    assert np.array_equal(read.pixels.array, images.transpose(0, 3, 1, 2))
    assert set(read.labels) == {"-300", "-299"}
    gray = read_images(["."], channels=1, size=2)
    assert gray.pixels.shape == (1, 2, 2)
    assert gray.notes == ["Brought to 2 × 2 pixels: 9 images."]


def test_bad_idx() -> None:
    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            read_images(["."])
        assert "\n" not in str(caught.value)

    mnist(end="")
    name = Path("train-images-idx3-ubyte")
    whole = name.read_bytes()
    for content, words in (
        (whole[:-1], r"truncated: its header promises 20 images of 5 × 4 pixels"),
        (whole + b"x", "goes on behind all that its header promises"),
        (gzip.compress(whole)[:-20], "damaged|truncated"),
        (gzip.compress(whole[:-100]), "ends before all that its header promises"),
        (whole[:4] + struct.pack(">I", 19) + whole[8:-20], "has 19 images and .* 20 labels"),
        (whole[:4] + struct.pack(">I", 1 << 31) + whole[8:], "truncated: its header promises 2,147,483,648"),
    ):
        name.write_bytes(content)
        refused(words)
    idx(np.zeros((20, 5, 4)), str(name), 13)
    refused("images of type float32; only bytes")
    idx(np.zeros((20, 5, 4, 7)), str(name))
    refused("shape 20 × 5 × 4 × 7, which are no images")
    name.write_bytes(whole)
    idx(np.zeros((3, 5, 4)), "other-train-images-idx3-ubyte")
    refused("several sets of images: images, other")
    assert idx_header(Path(__file__)) is None
    Path("short").write_bytes(b"\0\0\x08\x03\0\0")
    assert idx_header(Path("short")) is None
    assert read_idx([Path("short")]) == []


def cifar(name: str, count: int, labels: int = 1) -> np.ndarray:
    records = RANDOM.integers(0, 256, (count, labels + 3072), np.uint8)
    records[:, labels - 1] = np.arange(count) % (10 if labels == 1 else 100)
    if labels == 2:
        records[:, 0] = np.arange(count) % 20
    Path(name).write_bytes(records.tobytes())
    return records


def test_cifar_10() -> None:
    records = np.concatenate([cifar(name, 30) for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin")])
    read = read_images(["."])
    assert np.array_equal(read.pixels.array, records[:, 1:].reshape(90, 3, 32, 32))
    assert read.labels == [CIFAR10[number] for number in records[:, 0]]
    assert read.splits == ["train"] * 60 + ["test"] * 30
    assert (read.layout, read.names[30]) == ("cifar", "data_batch_2 #0")
    assert read.notes == ["There is no batches.meta.txt beside the images: the classes are named as in CIFAR-10."]
    Path("batches.meta.txt").write_text("\n".join(f"class {n}" for n in range(10)) + "\n\n")
    read = read_images(["data_batch_1.bin"])
    assert read.labels[:2] == ["class 0", "class 1"]
    assert read.notes == []
    assert looks_like_images(["data_batch_1.bin"]) == '"data_batch_1.bin" consists of records of CIFAR-10'


def test_the_order_of_files_does_not_hang_on_how_their_paths_are_spelled() -> None:
    Path("b").mkdir()
    for name in ("data_batch_1.bin", "b/data_batch_2.bin", "b/test_batch.bin"):
        cifar(name, 10)
    spelled = ["b/data_batch_2.bin", "b/test_batch.bin", "data_batch_1.bin"]
    one, other = (read_images(names) for names in (spelled, [str(Path(spelled[0]).absolute()), *spelled[1:]]))
    assert one.digest == other.digest
    assert one.names == other.names
    assert one.names[::10] == ["data_batch_2 #0", "data_batch_1 #0", "test_batch #0"]


def test_cifar_100_takes_the_fine_label() -> None:
    cifar("train.bin", 200, 2)
    records = cifar("test.bin", 100, 2)
    Path("fine_label_names.txt").write_text("\n".join(f"thing {n}" for n in range(100)))
    read = read_images(["."])
    assert read.labels[200:] == [f"thing {number}" for number in records[:, 1]]
    assert np.array_equal(read.pixels.array[200:].reshape(100, -1), records[:, 2:])
    assert read.splits == ["train"] * 200 + ["test"] * 100
    assert read.notes == ["Of the two labels of each image the fine one is taken."]


def test_bad_cifar() -> None:
    cifar("data_batch_1.bin", 300)
    content = bytearray(Path("data_batch_1.bin").read_bytes())
    content[250 * 3073] = 77
    Path("data_batch_1.bin").write_bytes(content)
    with pytest.raises(DataError, match="label 77 in its image 251, but there are 10 classes"):
        read_images(["data_batch_1.bin"])
    assert cifar_labels(Path("data_batch_1.bin")) == 1
    Path("data_batch_1.bin").write_bytes(content[:-1])
    assert cifar_labels(Path("data_batch_1.bin")) is None
    cifar("data_batch_1.bin", 10)
    cifar("train.bin", 100, 2)
    with pytest.raises(DataError, match=r"data_batch_1.bin. is of CIFAR-10 and .train.bin. of CIFAR-100"):
        read_images(["."])


class Boom:
    """What a pickle may do when it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("loaded"),)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_refused_and_not_loaded(protocol: int) -> None:
    Path("data_batch_1").write_bytes(pickle.dumps({"data": Boom()}, protocol))
    assert is_pickle(Path("data_batch_1"))
    assert looks_like_images(["."]) is not None
    for source in (".", "data_batch_1"):
        with pytest.raises(DataError, match=r"is a Python pickle, which can run any code.*cifar-10-binary"):
            read_images([source])
    Path("data_batch_1").rename("other.pkl")
    assert looks_like_images(["."]) is None
    with pytest.raises(DataError, match="is a Python pickle"):
        read_images(["other.pkl"])
    assert not Path("loaded").exists()


@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="needs the real files of MNIST and CIFAR-10")
def test_the_real_files() -> None:
    read = read_images([SHARED / "mnist"])
    assert (len(read.pixels), read.pixels.shape) == (70_000, (1, 28, 28))
    assert np.bincount(np.array(read.labels[:60_000], int)).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert abs(read.pixels.array[:60_000].mean() / 255 - 0.1307) < 1e-4  # as everybody's normalization says
    parts, _ = read_cifar(sorted((SHARED / "cifar10").glob("*.bin")))
    assert next(part.labels[:3] for part in parts if part.labels) == ["frog", "truck", "truck"]
