"""What is drawn from records: the page of one run, and the matrix over several."""
