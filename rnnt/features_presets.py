"""Features that other programs compute too, so that a model that is trained with them runs there (see docs/export.md).

They are chosen by name in place of the section: `features: nemo` in a YAML file, `features=nemo` on the command line.
"""

from typing import Any

_PEERS: dict[str, Any] = {
    "sample_rate": 16000,
    "trim_silence": False,
    "dither": 0.0,
    "preemphasis": 0.97,
    "n_fft": 512,
    "window": 400,
    "hop": 160,
    "kind": "mel",
    "mels": 80,
    "low_hz": 0.0,
    "peak_floor": 0.0,
}
_SHERPA = {"padding": "kaldi", "whole_hops": True, "log_guard": "max", "log_floor": 2.0**-23}

FEATURE_PRESETS: dict[str, dict[str, Any]] = {
    "nemo": _PEERS
    | {
        "window_type": "hann",
        "high_hz": 8000.0,
        "padding": "zeros",
        "whole_hops": True,
        "log_guard": "add",
        "log_floor": 2.0**-24,
        "normalization": "utterance",
    },
    "sherpa-offline": _PEERS | _SHERPA | {"window_type": "povey", "high_hz": 7600.0, "normalization": "utterance"},
    "sherpa-online": _PEERS | _SHERPA | {"window_type": "hann", "high_hz": 8000.0, "normalization": "global"},
}


def preset_differences(features: Any, preset: str, free: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings in which features, a `FeaturesConfig`, are not those of a preset, with the preset's values.

    free: settings that may differ.
    """
    wanted = FEATURE_PRESETS[preset]
    return {
        f"features.{name}": value
        for name, value in wanted.items()
        if name not in free and getattr(features, name) != value
    }
