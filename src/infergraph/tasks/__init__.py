"""Durable JSONL inference: accept a file, answer every line in its place, survive anything.

upload ─▶ files ─▶ store ◀─▶ driver ─▶ engine ─▶ worker ─▶ unit
                     ▲          │ append answers, sync, move the watermark
                   edges ◀──────┘
"""
