"""Reading data: sources, label noise, views."""
