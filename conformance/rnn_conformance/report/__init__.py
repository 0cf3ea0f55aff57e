"""What is drawn from records: a page, the matrix over backends, comparisons, a badge, a summary."""
