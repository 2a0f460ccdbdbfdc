"""Bytes to messages and back, without a network.

    JSON        json_codec ─▶ json_content ─▶ json_text        large: json_scan (numbers), json_slices (any value)
    protobuf    proto_codec ─▶ proto_content ─▶ fields, values
    .npy        npy_codec
    lines       jsonl, error_lines

The accepted request formats are defined here, once for all edges: `body` finds the JSON in a request, `multipart` reads
forms, `charsets` lists the text encodings. Another protocol is another codec here: a subclass of
`wire_message.WireMessage` for received messages, and an `encode` for any message.
"""
