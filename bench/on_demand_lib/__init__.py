"""The parts of bench/on_demand.py. Nothing here but `ours.py` imports the product: the peers' environment lacks it."""
