"""What browsers load besides the pages: one style sheet and one small script."""
