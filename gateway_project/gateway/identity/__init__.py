"""Who is asking: keys, tokens, passports, sessions, login and refresh."""
