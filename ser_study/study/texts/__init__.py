"Paper 03, Chaves-Villota et al. 2024: class weights for a rare emotion in Spanish texts."
