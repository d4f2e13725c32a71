"""What installs, upgrades and removes step-audit in a database, and audits its past."""
