"""Reading tables: which files, in which blocks, and each block to an Arrow table and its rejects."""
