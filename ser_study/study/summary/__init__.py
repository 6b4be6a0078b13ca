"The summary: which claims of the five papers hold."
