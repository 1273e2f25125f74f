"""What is known of accuracies: the ledger of trained runs, the tables made from it, and published numbers. No torch.

ledger     one record per run
table      the ground truth
files      tables as files, and those that come with the package: results/tables/published.csv is the paper's Table 6
published  what the paper prints of the methods that it compares: Tables 1 and 2, Figure 3
arrays     a table for other tools
"""
