"""Where figures of graphics cards come from: one file per source, and the search for the best."""
