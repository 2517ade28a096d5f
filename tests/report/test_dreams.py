"""Pictures of dreams, and the file they are kept in."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.report import runs
from wm.report import dreams


def test_a_kept_dream_is_read_back(tmp_path):
    night = runs.image_night()
    dreams.save(tmp_path / "dream.npz", night)
    kept = dreams.load(tmp_path / "dream.npz")
    np.testing.assert_array_equal(kept.reels[0].truth, night.reels[0].truth)
    np.testing.assert_array_equal(kept.imagined_reward, night.imagined_reward)
    assert (kept.context, kept.step, kept.seed) == (2, 14_000, 0)


def test_a_damaged_file_counts_as_none(tmp_path):
    file = tmp_path / "dream.npz"
    assert dreams.load(file) is None
    dreams.save(file, runs.image_night())
    file.write_bytes(file.read_bytes()[:100])
    assert dreams.load(file) is None


def test_a_dream_is_computed_once_per_step(tmp_path, monkeypatch):
    calls = []

    def compute(path, step, seed):
        calls.append(step)
        return runs.image_night()._replace(step=step, seed=seed)

    monkeypatch.setattr(dreams, "_compute", compute)
    for step in (10, 10, 20, 20):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True, exist_ok=True)
        dreams.dream(tmp_path, tmp_path, seed=0)
    assert calls == [10, 20]


def test_heat_is_dark_where_right_and_saturates_at_half():
    truth = np.zeros((1, 2, 1), np.uint8)
    imagined = np.array([[[0], [128]]], np.uint8)
    right, wrong = dreams.heat(truth, imagined)[0]
    assert right.tolist() == [0, 0, 4]
    assert wrong.tolist() == dreams.heat(truth, truth + 255)[0, 0].tolist()


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_any_number_of_channels_can_be_shown(channels):
    assert dreams.colors(np.zeros((2, 4, 4, channels), np.uint8)).shape == (2, 4, 4, 3)


def test_sprite_holds_every_frame_in_native_size():
    sheet = Image.open(io.BytesIO(dreams.sprite(runs.image_night().reels[0])))
    assert sheet.size == (6 * 16, 4 * 3 * 16)


def test_animation_has_every_frame():
    night = runs.image_night()
    movie = dreams.animation(night.reels[0], night.valid, 100)
    assert Image.open(io.BytesIO(movie)).n_frames == 6


def test_strip_has_three_rows():
    reel = runs.image_night().reels[0]
    picture = Image.open(
        io.BytesIO(dreams.strip(reel, 0, np.arange(4), side=16, gap=2))
    )
    assert picture.size == (4 * 16 + 3 * 2, 3 * 16 + 2 * 2)


def test_long_strips_keep_the_context_and_the_end():
    frames = dreams.strip_frames(50, 5)
    assert len(frames) == dreams.STRIP
    assert frames[:5].tolist() == [0, 1, 2, 3, 4]
    assert frames[-1] == 49
    assert dreams.strip_frames(6, 2).tolist() == [0, 1, 2, 3, 4, 5]


def test_dict_observations_become_one_reel_per_array():
    from wm.train.dream import Dream

    image = np.zeros((2, 3, 4, 4, 1), np.uint8)
    vector = np.zeros((2, 3, 5), np.float32)
    flat = np.zeros((2, 3), np.float32)
    result = Dream(
        truth={"image": image, "vector": vector},
        imagined={"image": image + 0.5, "vector": vector},
        error={"image": flat, "vector": flat},
        reward=flat,
        imagined_reward=flat,
        imagined_discount=flat,
        valid=flat == 0,
        context=np.int32(1),
    )
    night = dreams.night_of(result, step=7, seed=1)
    assert [reel.name for reel in night.reels] == ["image", "vector"]
    assert [reel.image for reel in night.reels] == [True, False]
    assert night.reels[0].imagined.max() == 128
