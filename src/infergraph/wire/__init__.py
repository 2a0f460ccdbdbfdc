"""Bytes to messages and back, without a network.

    JSON        json_codec ─▶ json_content ─▶ json_text        large: json_scan (numbers), json_slices (any value)
    protobuf    proto_codec ─▶ proto_content ─▶ fields, values
    .npy        npy_codec
    lines       jsonl, error_lines

What a caller's bytes may be is decided here, once for all edges: `body` finds the JSON in a request, `multipart` reads
forms, `charsets` lists the text encodings. A further protocol is one more codec beside these: a subclass of
`wire_message.WireMessage` for what comes in, and an `encode` for any message.
"""
