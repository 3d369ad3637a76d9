"""The least time that a machine allows: work counted from a graph, the machine's rates, and the limit they give."""
