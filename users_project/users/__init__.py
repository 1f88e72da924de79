"""Users: the record of who there is, its index, and the API and admin over both."""
