"""Looking at results: what the runs below a directory tell, as tables, figures and one page."""
