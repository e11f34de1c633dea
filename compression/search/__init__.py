"""Search for one device: measured costs and measured damages of every choice, an integer program over both, plans that are built whole."""
