"""Expression of genes in samples: the registry of formats, the choice of columns, and the join with the annotation."""
