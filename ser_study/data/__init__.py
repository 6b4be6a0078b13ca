"Corpora: readers, screening, fetching, and demo corpora that are made here."
