"""A smaller text tower that answers like the trained one."""
