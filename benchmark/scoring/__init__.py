"""Rankings, and how good they are: scores against a table, verdicts, comparisons of tables, the race. No torch.

ranking                what a search returns, and the file in which it is kept
scores, scored         how well it agrees with a table; what a score holds, and how people read it
kendall, noise         tau-b of many tables at once; the tables that other seeds might have given: tau's interval
estimate               a number with its interval
versus, significance   method against method, configuration against configuration
comparison, sides, paired, comparison_page      two tables: the numbers, each of the two, cell by cell, the page
race, finds            all methods beside the paper's; what was found where there is no table
correlations           what ranks like what
"""
