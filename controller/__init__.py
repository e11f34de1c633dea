"""The fleet side: deployments, blobs, what devices reported."""
