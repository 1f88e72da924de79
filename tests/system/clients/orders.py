"""Signs in, places an order and lists it, with the client that openapi-python-client made of /openapi.json."""

import sys

from gatehouse_client import AuthenticatedClient, Client
from gatehouse_client.api.orders import orders_create, orders_list
from gatehouse_client.api.session import login
from gatehouse_client.models import LoginRequest, OrderInRequest, Problem, Tokens

base_url = sys.argv[1]
tokens = login.sync(client=Client(base_url=base_url), body=LoginRequest(username="user", password="u"))
assert isinstance(tokens, Tokens), tokens

client = AuthenticatedClient(base_url=base_url, token=tokens.access_token)
placed = orders_create.sync(client=client, body=OrderInRequest(item="tea", quantity=2, address="Main street 1"))
page = orders_list.sync(client=client, limit=1)
assert not isinstance(placed, Problem), placed
assert not isinstance(page, Problem), page
(listed,) = page.results
sys.stdout.write(f"{listed.id == placed.id} {listed.item} {listed.quantity}\n")

refused = orders_create.sync(client=client, body=OrderInRequest(item="", quantity=1, address="x"))
assert isinstance(refused, Problem), refused
sys.stdout.write(f"{refused.status} {len(refused.errors['item'])}\n")
