"""Speed benchmarks: latency, memory over hours, roofline bounds; parity is checked before anything is timed."""
