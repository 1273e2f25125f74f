"""Rankings, and how good they are: scores against a table, verdicts, comparisons of tables, the race. No torch."""
