"""A server of one model for many clients: files and live speech, in the protocols of other servers."""
