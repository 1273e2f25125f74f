"""What `benchmark.report` writes: one page, and its figures and tables as files. No torch.

    kept         what lies under an output folder; what cannot be read is named and left out
    explored     a table, ready to be explored: its configurations, their records and curves
    leaderboard  methods against a table: a row each, their verdicts, their points, their budgets; what was not run
    pairs        two tables beside each other
    histories    what a search did epoch by epoch
    studies      interference, what ranks like what, searches in simulated time
    channels     searches of widths: ranks, slopes, widths, how what was found compares; does rank follow accuracy
    papers       the papers' tables with a column of ours
    styles       one colour and marker per method, in every figure
    marks        what charts are made of: their data, size, colours, lines of reference
    charts, history_charts, study_charts, channel_charts        each chart, defined once for the page and for the files
    figures, channel_figures        which figures there are, and what each means in plain words
    drawings     small pictures within a table's cell: where a network pools, a tau with its interval
    page         the HTML
    files        figures as SVG, PNG and PDF, tables as CSV, Markdown and LaTeX

The first seven are plain records of numbers, which know neither charts nor HTML.
"""
