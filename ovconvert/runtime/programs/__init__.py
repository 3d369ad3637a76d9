"""One module per family: how its components make speech or text. Found by file name."""
