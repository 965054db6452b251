"""`twotower tune`: a search over settings of `[train]`, judged on validation events alone."""
