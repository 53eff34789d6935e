"""Official ``kubernetes`` models out of JSON, for the legacy classes (31 to 36) and the pydantic ones (37).

``generations`` knows how the two generations lie in memory, ``shapes`` how a class is decoded,
``lazy`` makes the objects. Nothing here knows of HTTP or GraphQL.
"""
