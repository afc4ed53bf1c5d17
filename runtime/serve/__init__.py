"""The server: frames in, decisions out; prompts in, motion out. Needs the extra `serve`."""
