"""How a photograph differs from a good object, and whether that is a defect."""
