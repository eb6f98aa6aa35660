"""One folder per capability; a feature sees another only through its `contract.py`."""
