"""From a folder of photographs to a class: poses, lenses, cut-outs, and a report on how they were taken."""
