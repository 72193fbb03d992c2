"""The recursive run: turns, prompts, parsing, budget, batcher, trajectory."""
