"The command line and what it calls."
