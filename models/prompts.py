"""The constant part of every sub-call."""

from __future__ import annotations

SUB_SYSTEM = "You answer questions about a text. Answer from the text alone, briefly and exactly."
