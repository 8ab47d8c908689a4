"""A browser's decoder (odp.js), placeholders for pages, and the demo page."""
