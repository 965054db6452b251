"""TensorFlow Serving's wire protocol without TensorFlow.

`serving.wire.messages` has the message classes, `serving.wire.methods` the gRPC methods with their paths, and
`serving.wire.tensors` turns NumPy arrays into tensors and back. The sources are in `protos/`; after an edit
run `python -m serving.wire.generate`.
"""
