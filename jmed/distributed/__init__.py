"""The only package that imports ray: it spreads the library's work over a cluster."""

import os

# Before ray is imported: repeated lines would be kept back, and come when the job has ended and nothing catches them.
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
