"""Audio files and sample rates: whatever soundfile reads becomes 16-bit mono samples at one rate."""

from rnnt.audio.level import mono_blocks
from rnnt.audio.reading import AUDIO_SUFFIXES, audio_blocks, read_audio, resample, to_pcm

__all__ = ["AUDIO_SUFFIXES", "audio_blocks", "mono_blocks", "read_audio", "resample", "to_pcm"]
