"""Speed measurements: ratios between this suite's engine and what a user would write. Never part of the tests."""
