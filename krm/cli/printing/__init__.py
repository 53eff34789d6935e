"""What kubectl prints of each kind: the columns, computed from the object as the API server gave it."""
