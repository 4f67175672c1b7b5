"""The settings of the features that depend on each other; each one's range is tested in test_config.py."""

import pytest

from rnnt.config import AugmentConfig, Config
from rnnt.features_config import FeaturesConfig


def test_the_values_of_a_frame():
    assert FeaturesConfig(mels=23).values == 23
    assert FeaturesConfig(kind="mfcc", mels=26, cepstra=12, normalization="global").values == 26
    assert FeaturesConfig(kind="mfcc", mels=26, cepstra=26).values == 54


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mels": 11}, r"features.cepstra is 12; it must be at most features.mels \(11\)"),
        ({"normalization": "loud"}, "normalization is loud, .* must be one of utterance, global, running, none"),
        ({"normalization": "shape"}, "normalization is shape, .* must be one of utterance, global, running, none"),
    ],
)
def test_settings_that_do_not_fit_cepstra_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FeaturesConfig(kind="mfcc", **changes)


def test_bands_of_cepstra_cannot_be_masked():
    features = FeaturesConfig(kind="mfcc")
    Config(features=features, augment=AugmentConfig(time_masks=2))
    with pytest.raises(ValueError, match=r"augment.frequency_masks is 2; it must be 0 if features.kind is mfcc"):
        Config(features=features, augment=AugmentConfig(frequency_masks=2))


def test_frames_are_left_out_only_if_a_stream_has_not_begun_with_them():
    FeaturesConfig(whole_hops=True, hop=256)
    with pytest.raises(ValueError, match=r"features.hop is 257; if features.whole_hops is true, .*n_fft \(512\)"):
        FeaturesConfig(whole_hops=True, hop=257)
