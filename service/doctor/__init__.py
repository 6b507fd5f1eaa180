"""What this machine has for Solomon, what would be used, and what is missing."""
