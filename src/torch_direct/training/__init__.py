"""Training graph neural networks by neighbour sampling: what `torch-direct train` runs.

`config` holds the settings, `models` the networks, `placed` puts a data set where it is read,
`batches` loads it, `trainer` runs the epochs, `checkpoint` keeps what is needed to go on, `report`
writes the outcome.
"""
