"""Objects of other nodes, retrieved by C-MOVE and C-GET, and priors by rule."""
