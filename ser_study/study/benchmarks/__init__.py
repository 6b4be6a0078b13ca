"What the benchmarks compare, as functions."
