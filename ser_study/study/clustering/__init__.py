"Paper 01, Toh 2025: unsupervised clustering of voice and words."
