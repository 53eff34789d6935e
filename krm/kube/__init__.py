"""Access to a cluster's API as raw JSON: list, watch, get, discovery and reviews, on asyncio.

Objects stay the bytes that the API server sent; nothing here knows what a pod is, and nothing here retries for long:
each call either gives what was asked or raises one of ``krm.errors``, and its caller decides what comes next.
"""
