"""Published numbers, statistics and the page that shows a run."""
