"""Local ids of the vertices of a batch."""
