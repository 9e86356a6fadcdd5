"""The building blocks that all HTML pages and plots share."""
