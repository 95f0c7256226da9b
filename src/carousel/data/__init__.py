"""From the user's files to what training reads."""
