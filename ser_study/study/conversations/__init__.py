"Paper 02, Femia et al. 2023: text, audio and the history of a conversation."
