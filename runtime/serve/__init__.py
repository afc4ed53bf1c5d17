"""The server: decisions on incoming frames, motion from prompts. Needs the extra `serve`."""
