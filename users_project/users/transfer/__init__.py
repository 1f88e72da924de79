"""Users from and to files: another program's, an export, or a users.jsonl."""
