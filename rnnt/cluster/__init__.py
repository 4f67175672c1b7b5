"""Many recordings on many machines, with Ray. docs/cluster.md explains it.

inputs: folders, lists and URIs -> a table of recordings, and its portions. storage: files that may be on S3 and the
like. ledger: the output folder, with a shard for each finished portion. session: Ray. pool: the actors that decode.
schedule: portions -> rows, whoever dies. transcribing: what the readers and the actors do. summary: the report.
"""
