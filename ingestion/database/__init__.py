"""The database: connections, locks, migrations, roles and grants."""
