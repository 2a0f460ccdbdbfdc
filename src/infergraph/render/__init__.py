"""Rendering of deployment files: plain Kubernetes objects, and Ray's configuration, from the same cut as `serve`.

text ──kubernetes.render──▶ objects ──manifests──▶ YAML with comments, to a stream or a folder
"""
