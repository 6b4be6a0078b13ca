"Fits, runs and reports, and what each paper computes."
