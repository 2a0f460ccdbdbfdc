"""The codec of the open inference protocol (V2): JSON with binary tensors, and protobuf.

    bytes ──json, proto──▶ InferRequest of Tensors ──values──▶ Content
    Content ──values──▶ InferResponse of Tensors ──json, proto──▶ bytes

`tensors` holds the datatypes and their spellings, `records` a request and its answer.
"""
