"""Mixed precision: how many bits each layer gets within a budget.

emulation.py    the network in batches, its layers at any bits
outcome.py      what bits cost in the network's outputs
sensitivity.py  that cost for one layer at a time: the table
budget.py       what bits cost on the device: bytes, MACs by bits
choice.py       the integer program over both
search.py       candidates, their true errors, the best, and the front of all
"""
