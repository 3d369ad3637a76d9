"""How things are measured: in turns, each in a process of its own, with every figure kept."""
