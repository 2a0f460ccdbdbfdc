"""The requests of the doctor, and the curl lines that repeat them."""

from __future__ import annotations

from infergraph.cli.wire_probe import Address


def test_every_curl_line_has_the_key() -> None:
    """With a key each curl line sends it, whatever its body, and takes it from the environment."""
    address = Address("https://host", 1.0, key="ig_secret")
    probes = (
        address.get("/a"),
        address.post_json("/a", {}),
        address.post_bytes("/a", b"{}", {"Content-Type": "text/plain"}),
        address.post_form("/a", {"task_id": "1"}, "task_file", b"{}\n"),
    )
    for probe in probes:
        assert 'curl -i -H "Authorization: Bearer $INFERGRAPH_KEY" ' in probe.curl
        assert "ig_secret" not in probe.curl
