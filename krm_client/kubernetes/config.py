"""``kubernetes.config``, as it is: where the API server is and who asks is the program's business, as ever."""

from kubernetes.config import *  # noqa: F403 (the official names)
