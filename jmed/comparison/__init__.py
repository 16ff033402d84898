"""Runs of evaluate and score compared, question by question: what their figures support, and what they do not."""
