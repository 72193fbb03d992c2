"""The text a question is asked of: read, staged, laid out, and searched."""
