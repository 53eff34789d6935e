"""What lies in Redis: keys, envelopes, row records, the scripts that write and the calls that read."""
