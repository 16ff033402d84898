"""What a job leaves on disk: its folder, whole files, hashes, the model card."""
