"""What is known of accuracies: the ledger of trained runs, the tables made from it, and published numbers. No torch."""
