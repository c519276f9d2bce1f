"""Who is asking, from here to the end of the block, and wherever its work goes."""
