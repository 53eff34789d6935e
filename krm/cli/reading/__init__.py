"""The commands that ask a running KRM: get, query, status, schema. They need no Redis, no web server and no pandas."""
