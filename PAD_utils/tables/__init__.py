"""The paper's tables: many runs of the main job, on one machine or a cluster, and what they add up to."""
