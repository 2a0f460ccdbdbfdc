"""Durable JSONL inference: accept a file, answer every line in order, survive any crash.

upload ─▶ files ─▶ store ◀─▶ driver ─▶ engine ─▶ worker ─▶ unit
                     ▲          │ append answers, sync, move the watermark
                   edges ◀──────┘
"""
