"""N-gram language models: reading and writing ARPA files, counting, estimation, and tables for fast scoring."""
