"Paper 04, Liang et al. 2023: smoothing the distribution between pairs of emotions."
