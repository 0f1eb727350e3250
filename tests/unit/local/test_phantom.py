"""The objects of `darkroom demo`."""

import numpy as np

from darkroom_local.commands.phantom import shepp_logan, studies


def test_every_object_is_new_and_complete() -> None:
    made = [instance for study in studies(slices=3) for instance in study]
    again = [instance for study in studies(slices=3) for instance in study]
    uids = {instance.SOPInstanceUID for instance in made + again}
    assert len(uids) == len(made) * 2
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)
    for instance in made:
        frames = int(instance.get("NumberOfFrames", 1))
        pixels = instance.Rows * instance.Columns * instance.BitsAllocated // 8 * frames
        assert len(instance.PixelData) == pixels
        assert "DEMO-" in instance.PatientID


def test_the_phantom_is_a_head_in_air() -> None:
    image = shepp_logan(64)
    assert image[0, 0] == -1
    assert image.max() == 1
    assert {0.0, 0.2, 0.3} <= set(np.round(image[16:48, 16:48], 1).ravel())
