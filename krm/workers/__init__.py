"""The write side: streamer, verifier and aggregator of each resource. They meet only in Redis."""
