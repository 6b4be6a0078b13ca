"Paper 05, Lili et al. 2025: sentiment from one voice."
