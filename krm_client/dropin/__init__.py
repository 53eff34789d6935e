"""Behind `krm_client.kubernetes`: which calls KRM answers, what the program wrote, where its watches stand."""
