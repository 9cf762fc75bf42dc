"""What callers pass in: arrays of data and numbers, checked and converted before anything runs."""
