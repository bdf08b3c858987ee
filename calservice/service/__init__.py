"""Jobs: what submit and batch do around a plan."""
