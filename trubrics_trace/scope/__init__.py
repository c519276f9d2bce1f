"""Who is asking, from here to a block's end, and wherever its work goes."""
