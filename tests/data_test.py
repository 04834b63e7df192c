"""Sources name what is wrong; batches are a pure function of (seed, step)."""

import os
import shutil
import struct
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from inpainting_tf import data, images, masks, sources

SIZE = 16


def write_picture(path, number, size=(20, 24)):
    """A flat picture whose colour is its number."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pixels = np.empty([*size, 3], np.uint8)
    pixels[...] = [number, 255 - number, number // 2]
    pixels[:, : size[1] // 2, 1] = 0  # The left half differs: a flip can be seen.
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(30):
        write_picture(str(tmp_path / "faces" / f"{number:03d}.png"), number)
    return str(tmp_path / "faces")


def loader_of(source, share=0.5, crop="square"):
    return data.Loader(source, SIZE, crop, share)


def draw_mask(seed):
    return masks.draw("random_box", seed, SIZE, SIZE)


def take(source, steps, loader=None, **options):
    options = {"batch_size": 4, "seed": 7, "flip": True, **options}
    dataset = data.batches(
        source, loader or loader_of(source), draw_mask, size=SIZE, **options
    )
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in dataset.take(steps)
    ]


def numbers(batches):
    """Which pictures a list of batches shows."""
    pixels = np.concatenate([images.to_uint8(b["image"]).numpy() for b in batches])
    return pixels[:, 0, 0, 0].tolist()


def assert_equal_batches(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for name in ("image", "mask", "box"):
            np.testing.assert_array_equal(a[name], b[name])


# ------------------------------------------------------------------------ batches


def test_a_batch_holds_images_masks_and_boxes_in_their_ranges(folder):
    (batch,) = take(sources.folder_source(folder), 1)
    assert batch["image"].shape == (4, SIZE, SIZE, 3)
    assert batch["image"].dtype == np.float32
    assert batch["mask"].shape == (4, SIZE, SIZE, 1)
    assert set(np.unique(batch["mask"])) == {0, 1}
    assert batch["box"].shape == (4, 4) and batch["box"].dtype == np.int32
    assert np.abs(batch["image"]).max() <= 1


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(folder):
    source = sources.folder_source(folder)
    whole = take(source, 20)
    assert_equal_batches(take(source, 9, first_step=11), whole[11:])


def test_every_epoch_is_a_new_permutation_of_the_whole_collection(folder):
    source = sources.folder_source(folder)
    seen = numbers(take(source, 15, batch_size=6))
    epochs = [seen[i : i + 30] for i in (0, 30, 60)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(30))
    assert epochs[0] != epochs[1] != epochs[2]


def test_another_seed_changes_order_flips_and_masks(folder):
    source = sources.folder_source(folder)
    first, second = take(source, 5, seed=1), take(source, 5, seed=2)
    assert numbers(first) != numbers(second)
    assert any(
        not np.array_equal(a["mask"], b["mask"])
        for a, b in zip(first, second, strict=True)
    )


def test_examples_of_a_batch_have_their_own_masks(folder):
    (batch,) = take(sources.folder_source(folder), 1, batch_size=8)
    assert len({mask.tobytes() for mask in batch["mask"]}) == 8


def test_examples_may_share_a_mask(folder):
    source = sources.folder_source(folder)
    (shared,) = take(source, 1, batch_size=8, examples_per_mask=4)
    kinds = [mask.tobytes() for mask in shared["mask"]]
    assert len({*kinds[:4]}) == len({*kinds[4:]}) == 1 and kinds[0] != kinds[4]
    (own,) = take(source, 1, batch_size=8)
    np.testing.assert_array_equal(shared["image"], own["image"])


def test_flipping_mirrors_about_half_of_the_images(folder):
    source = sources.folder_source(folder)

    def dark_left(flip):
        batches = take(source, 30, flip=flip, batch_size=8)
        green = np.concatenate([b["image"] for b in batches])[..., 1]
        return (green[:, 0, 0] < green[:, 0, -1]).mean()

    assert dark_left(False) == 1
    assert 0.35 < dark_left(True) < 0.65


def test_a_zoom_shows_random_parts_enlarged_bilinearly(tmp_path):
    """Of a picture that is linear in both directions, the parts are so too."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pixels = np.stack([12 * rows, 12 * columns, 0 * rows], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "ramps.png")
    source = sources.folder_source(str(tmp_path))
    (plain,) = take(source, 1, batch_size=64, flip=False)
    (parts,) = take(source, 1, batch_size=64, flip=False, zoom=0.5)
    for name in ("mask", "box"):
        np.testing.assert_array_equal(parts[name], plain[name])
    np.testing.assert_array_equal(images.to_uint8(plain["image"][5]), pixels)
    levels = images.to_uint8(parts["image"]).numpy().astype(float)
    first, last = levels[:, 0, 0, :2] / 12, levels[:, -1, -1, :2] / 12
    sides = (last - first) / (SIZE - 1)
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], atol=0.02)  # Square.
    assert 0.48 < sides.min() < 0.55 and 0.95 < sides.max() < 1.01
    places = first / np.maximum((SIZE - 1) - (last - first), 1e-6)
    roomy = sides.max(axis=1) < 0.8
    assert places[roomy].min() < 0.15 and places[roomy].max() > 0.85
    place = np.arange(SIZE) / (SIZE - 1)
    for channel, axis in ((0, (64, SIZE, 1)), (1, (64, 1, SIZE))):
        begin, end = (x[:, channel, None, None] * 12 for x in (first, last))
        wanted = begin + (end - begin) * place.reshape(1, *axis[1:])
        # Both ends are whole levels, and so is what lies between them.
        assert np.abs(levels[..., channel] - wanted).max() <= 1.01


def test_zoomed_batches_resume_too(folder):
    source = sources.folder_source(folder)
    whole = take(source, 6, zoom=0.2)
    assert_equal_batches(take(source, 2, first_step=4, zoom=0.2), whole[4:])


def test_fixed_batches_are_the_same_at_every_pass_and_unflipped(folder):
    source = sources.folder_source(folder)
    dataset = data.fixed_batches(
        source, loader_of(source), draw_mask, size=SIZE, batch_size=4, seed=0, count=10
    )
    first, second = (list(dataset.as_numpy_iterator()) for _ in range(2))
    assert_equal_batches(first, second)
    assert numbers(first) == list(range(10))
    assert [len(b["image"]) for b in first] == [4, 4, 2]


def test_synthetic_faces_are_batched_without_files():
    source = sources.SyntheticFacesSource("train", 50)
    whole = take(source, 4, loader=None)
    assert_equal_batches(take(source, 2, first_step=2), whole[2:])
    assert whole[0]["image"].std() > 0.1
    with pytest.raises(sources.DataError, match="--split=val: synthetic_faces has"):
        sources.SyntheticFacesSource("val", 5)


# ----------------------------------------------------------------- unusable files


@pytest.fixture
def hostile_folder(folder):
    """30 good pictures and five bad ones."""
    path = os.path.join(folder, "001.png")
    with open(path, "rb") as file:
        whole = file.read()
    for name, content in {
        "100_empty.jpg": b"",
        "101_text.jpg": b"just words",
        "102_cut.png": whole[: len(whole) // 2],
    }.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    write_picture(os.path.join(folder, "103_small.png"), 200, (8, 40))
    os.symlink("absent.png", os.path.join(folder, "104_link.png"))
    return folder


def test_unusable_pictures_are_named_with_their_reason_and_replaced(hostile_folder):
    source = sources.folder_source(hostile_folder)
    loader = loader_of(source, share=0.2)
    first = take(source, 18, loader)
    reasons = {os.path.basename(n): r for n, r in loader.broken.items()}
    assert set(reasons) == {
        "100_empty.jpg",
        "101_text.jpg",
        "102_cut.png",
        "103_small.png",
        "104_link.png",
    }
    assert reasons["100_empty.jpg"] == "empty file"
    assert reasons["101_text.jpg"].startswith("not a JPEG")
    assert reasons["102_cut.png"].startswith("damaged")
    assert reasons["103_small.png"] == "too small: the 8x8 crop is smaller than 16x16"
    assert reasons["104_link.png"] == "unreadable: No such file or directory"
    assert set(numbers(first)) <= set(range(30))
    assert_equal_batches(take(source, 18, loader_of(source, share=0.2)), first)


def test_each_unusable_picture_is_reported_once(hostile_folder):
    seen = []
    source = sources.folder_source(hostile_folder)
    loader = data.Loader(
        source, SIZE, "square", 1.0, lambda name, reason: seen.append(name)
    )
    for _ in range(2):
        for index in range(len(source)):
            loader.load(index)
    assert sorted(seen) == sorted(loader.broken)
    assert len(seen) == 5


def test_too_many_unusable_pictures_stop_with_one_line(hostile_folder):
    source = sources.folder_source(hostile_folder)
    loader = loader_of(source, share=0.05)
    with pytest.raises(tf.errors.OpError):
        take(source, 18, loader)
    message = str(loader.failure)
    assert "of 35 pictures are unusable, more than --max_broken_share=0.05" in message
    assert "\n" not in message


def test_a_source_without_one_usable_picture_stops(tmp_path):
    for i in range(3):
        write_picture(str(tmp_path / f"{i}.png"), i, (8, 8))
    loader = loader_of(sources.folder_source(str(tmp_path)), share=1.0)
    with pytest.raises(sources.DataError, match="hardly any usable picture"):
        loader.load(0)


# ------------------------------------------------------------------------ sources


def test_a_folder_tree_is_read_in_path_order(tmp_path):
    for name in ("b/2.JPG", "a/1.png", "b/notes.txt", "3 ü.bmp"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("no picture")
        else:
            write_picture(str(tmp_path / name), 1)
    source = sources.folder_source(str(tmp_path))
    names = [os.path.relpath(source.name(i), tmp_path) for i in range(len(source))]
    assert names == ["3 ü.bmp", "a/1.png", "b/2.JPG"]


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(sources.DataError, match="--data_dir=.*absent: no such folder"):
        sources.folder_source(str(tmp_path / "absent"))
    with pytest.raises(sources.DataError, match="no file ends in .jpg"):
        sources.folder_source(str(tmp_path))


def test_held_out_pictures_depend_on_names_alone(folder, tmp_path):
    source = sources.folder_source(folder)
    rest, held = sources.hold_out(source, 6)
    assert len(held) == 6
    assert sorted(rest.names + held.names) == source.names
    reordered = sources.FileSource("/elsewhere", source.names[::-1], "moved")
    _, held_again = sources.hold_out(reordered, 6)
    assert set(held_again.names) == set(held.names)
    with pytest.raises(sources.DataError, match="lower --validation_count"):
        sources.hold_out(source, 30)


def test_a_csv_list_gives_its_partitions_in_order(folder):
    path = os.path.join(folder, "list.csv")
    with open(path, "w") as file:
        file.write("file,height,partition\n")
        file.write("007.png,20,train\n002.png,20,val\n005.png,20,train\n")
    train, validation = sources.list_sources(path, folder)
    assert train.names == ["007.png", "005.png"]
    assert validation.names == ["002.png"]
    # The list may be named from the data folder as well.
    assert sources.list_sources("list.csv", folder)[0].names == train.names
    with pytest.raises(sources.DataError, match="no partition 'tset', only train, val"):
        sources.list_sources(path, folder, "tset")
    with pytest.raises(
        sources.DataError, match="--validation_split=val is what --split"
    ):
        sources.list_sources(path, folder, "val", "val")
    with pytest.raises(sources.DataError, match="lower --validation_count"):
        sources.list_sources(path, folder, "val", count=1)


def test_partitions_without_names_must_be_chosen(folder):
    path = os.path.join(folder, "list.csv")
    with open(path, "w") as file:
        file.write("image_id,partition\n007.png,0\n002.png,1\n005.png,2\n")
    with pytest.raises(sources.DataError, match="by --split: 0, 1, 2"):
        sources.list_sources(path, folder)
    train, validation = sources.list_sources(path, folder, "0", "1")
    assert (train.names, validation.names) == (["007.png"], ["002.png"])


def test_a_text_list_may_have_partitions_or_none(folder):
    path = os.path.join(folder, "list.txt")
    with open(path, "w") as file:
        file.write("001.png 0\n002.png 1\n\n003.png 0\nmy face.png 0\n")
    write_picture(os.path.join(folder, "my face.png"), 77)
    train, validation = sources.list_sources(path, folder, "0", "1")
    assert train.names == ["001.png", "003.png", "my face.png"]
    assert validation.names == ["002.png"]
    with open(path, "w") as file:
        file.writelines(f"{i:03d}.png\n" for i in range(12))
    train, validation = sources.list_sources(path, folder, count=3)
    assert len(train) == 9 and len(validation) == 3


def test_lists_that_cannot_be_used_say_what_is_wrong(folder):
    path = os.path.join(folder, "list.csv")
    with pytest.raises(sources.DataError, match="--data_list=.*No such file"):
        sources.list_sources(path, folder)
    with open(path, "w") as file:
        file.write("file\n001.png\nghost.png\n")
    with pytest.raises(
        sources.DataError, match="1 of 2 files are not there.*ghost.png"
    ):
        sources.list_sources(path, folder, count=1)
    with open(path, "w") as file:
        file.write("001.png,train\n002.png,val\n")
    with pytest.raises(sources.DataError, match="the first line must name the columns"):
        sources.list_sources(path, folder, count=1)
    with open(path, "w") as file:
        file.write('file\n"' + "x" * 140_000)
    with pytest.raises(sources.DataError, match="--data_list=.*field larger"):
        sources.list_sources(path, folder, count=1)
    with open(path, "w") as file:
        file.write("")
    with pytest.raises(sources.DataError, match="the list is empty"):
        sources.list_sources(path, folder, count=1)


def test_the_fingerprint_follows_names_and_sizes_not_the_place(folder, tmp_path):
    source = sources.folder_source(folder)
    first = sources.fingerprint(source)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert sources.fingerprint(sources.folder_source(str(moved))) == first
    fewer = sources.FileSource(folder, source.names[1:], "fewer")
    assert sources.fingerprint(fewer) != first
    with open(os.path.join(folder, "004.png"), "ab") as file:
        file.write(b"changed")
    assert sources.fingerprint(source) != first


def test_names_that_are_no_text_are_read_like_others(folder):
    strange = os.path.join(os.fsencode(folder), b"n\xe4me.png")
    os.rename(os.path.join(folder, "000.png"), strange)
    source = sources.folder_source(folder)
    assert len(source) == 30
    sources.fingerprint(source)
    rest, held = sources.hold_out(source, 5)
    assert len(rest) + len(held) == 30
    assert sorted(numbers(take(source, 15, batch_size=2))) == list(range(30))


# ------------------------------------------------------------ TensorFlow Datasets


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def prepared_celeb_a(request, tmp_path_factory):
    """A data folder in which a small `celeb_a` lies prepared, as TFDS writes it."""
    folder = tmp_path_factory.mktemp(request.param)

    def examples(first, count):
        for number in range(first, first + count):
            pixels = np.full([218, 178, 3], number, np.uint8)
            yield {"image": pixels, "landmarks": {"nose_x": number}}

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=[218, 178, 3], encoding_format="jpeg"),
            "landmarks": {"nose_x": np.int64},
        }
    )

    class CelebA(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "celeb_a"
        VERSION = tfds.core.Version("2.1.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {
                "train": enumerate(examples(0, 40)),
                "validation": enumerate(examples(100, 8)),
            }

        def _generate_examples(self):
            raise AssertionError("examples come from _split_generators")

    CelebA(data_dir=folder, file_format=request.param).download_and_prepare()
    return str(folder)


def stored_numbers(data_dir, split):
    """What TFDS itself reads, in its order."""
    builder = tfds.builder_from_directory(os.path.join(data_dir, "celeb_a", "2.1.0"))
    if builder.info.file_format.value == "tfrecord":
        examples = builder.as_dataset(split).as_numpy_iterator()
    else:
        examples = builder.as_data_source(split)
    return [example["image"][0, 0, 0] for example in examples]


def test_a_prepared_tfds_data_set_is_read_in_any_order(prepared_celeb_a):
    train, validation = sources.tfds_sources("celeb_a", prepared_celeb_a)
    assert (len(train), len(validation)) == (40, 8)
    expected = stored_numbers(prepared_celeb_a, "train")
    order = np.random.default_rng(0).permutation(40)
    read = [images.decode(train.read(i))[0, 0, 0] for i in order]
    np.testing.assert_array_equal(read, np.array(expected)[order])
    seen = numbers(take(train, 10, loader_of(train, crop=178)))
    assert sorted(seen) == list(range(40))


def test_tfds_split_syntax_is_honoured(prepared_celeb_a):
    train, validation = sources.tfds_sources(
        "celeb_a", prepared_celeb_a, "train[5:17]", "train[90%:]+validation"
    )
    assert (len(train), len(validation)) == (12, 12)
    expected = stored_numbers(prepared_celeb_a, "train[5:17]")
    read = [images.decode(train.read(i))[0, 0, 0] for i in range(12)]
    np.testing.assert_array_equal(read, expected)


def test_wrong_tfds_names_and_splits_are_refused(prepared_celeb_a):
    with pytest.raises(sources.DataError, match="--dataset=celeb_b: not a TensorFlow"):
        sources.tfds_sources("celeb_b", prepared_celeb_a)
    with pytest.raises(sources.DataError, match="has the splits train, validation"):
        sources.tfds_sources("celeb_a", prepared_celeb_a, "training")


def test_a_failed_download_says_how_to_use_a_folder(tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", no_network
    )
    monkeypatch.setattr(tfds.download.DownloadManager, "download", no_network)
    with pytest.raises(sources.DataError) as error:
        sources.tfds_sources("celeb_a", str(tmp_path))
    message = str(error.value)
    assert "ConnectionError: no route" in message
    assert "--flagfile=flags/celeba_folder.cfg --data_dir=" in message
    assert "\n" not in message


def test_a_damaged_record_counts_as_an_unusable_picture(prepared_celeb_a):
    train, _ = sources.tfds_sources("celeb_a", prepared_celeb_a)
    intact = train._record
    train._record = lambda index: b"\xff\xff" if index == 3 else intact(index)
    loader = loader_of(train, share=0.1, crop=178)
    assert loader.load(3).shape == (178, 178, 3)
    assert list(loader.broken) == ["celeb_a/2.1.0 train record 3"]


def test_a_cut_tfrecord_shard_is_named(prepared_celeb_a):
    builder = tfds.builder("celeb_a", data_dir=prepared_celeb_a)
    if builder.info.file_format.value != "tfrecord":
        pytest.skip("ArrayRecord shards are opened by their own library")
    shard = builder.info.splits["validation"].file_instructions[0].filename
    with open(shard, "rb") as file:
        whole = file.read()
    try:
        with open(shard, "wb") as file:
            file.write(whole[:-100])
        with pytest.raises(sources.DataError, match="ends early; prepare the data set"):
            sources.tfds_sources("celeb_a", prepared_celeb_a, "train")
    finally:
        with open(shard, "wb") as file:
            file.write(whole)


@pytest.mark.parametrize("length", [99, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_record_longer_than_its_shard_is_an_end_that_comes_early(tmp_path, length):
    """Lengths that a damaged file may claim, of a shard whose records hold 8 bytes."""
    shard = tmp_path / "faces.tfrecord"
    shard.write_bytes(struct.pack("<QI8sI", 8, 0, b"a record", 0) * 2)
    whole = types.SimpleNamespace(
        filename=str(shard), take=-1, skip=0, examples_in_shard=2
    )
    _, records = sources._tfrecord_records(whole)
    np.testing.assert_array_equal(records, [[12, 8], [36, 8]])
    for record in (0, 1):
        damaged = bytearray(shard.read_bytes())
        struct.pack_into("<Q", damaged, 24 * record, length)
        copy = tmp_path / f"{record}.tfrecord"
        copy.write_bytes(damaged)
        whole.filename = str(copy)
        with pytest.raises(sources.DataError, match="ends early; prepare the data set"):
            sources._tfrecord_records(whole)
