"""Models and data in object storage: their addresses, and copies of them on this machine."""
