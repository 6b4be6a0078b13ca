"Scores, intervals, published numbers, claims and verdicts."
