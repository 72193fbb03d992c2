"""Every figure the README quotes, each by one command."""
