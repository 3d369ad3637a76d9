"""Graph surgery shared by the stages: tracing, detached weights, attention, state, saving."""
