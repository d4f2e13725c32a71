"""What tests share: servers, a host database, histories and the oracle."""
