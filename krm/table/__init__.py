"""The read side's copy of the cluster: one replica a resource, in memory, following Redis."""
