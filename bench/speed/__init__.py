"""How fast: latency, memory over hours, what a step costs at least; parity before any of it."""
