"The report site, made from the files of the runs."
