"""Who asks, and what may they see: Kubernetes' own reviews of tokens and of access, remembered for a few seconds."""
