"""The verbs of the command `rnnt` that have much to say; the others are in `rnnt.cli`."""
