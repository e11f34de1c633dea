"""Words that device and fleet share: errors, digests, durable files, datasets, cards, budget and gate, statistics, the wire."""
