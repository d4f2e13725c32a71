"""What reads the audit: typed records, HTTP, clients."""
