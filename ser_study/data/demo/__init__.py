"Demo corpora: synthesised speech and made-up texts."
