"Clusterings, probes and networks, and how they are trained."
