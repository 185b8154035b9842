"""What several commands share: options, output, progress, words and views for people."""
