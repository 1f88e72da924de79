// Signs in, places an order and lists it, with the types that openapi-typescript made of /openapi.json.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };
const baseUrl = process.argv[2];

const session = await createClient<paths>({ baseUrl }).POST("/api/login", {
  body: { username: "user", password: "u" },
});
if (!session.data) throw new Error(session.error.detail);

const client = createClient<paths>({
  baseUrl,
  headers: { Authorization: `Bearer ${session.data.access_token}` },
});
const placed = await client.POST("/api/orders", {
  body: { item: "tea", quantity: 2, address: "Main street 1" },
});
if (!placed.data) throw new Error(placed.error.detail);

const listed = await client.GET("/api/orders", { params: { query: { limit: 1 } } });
if (!listed.data) throw new Error(listed.error.detail);
const { id, item, quantity } = listed.data.results[0];
console.log(id === placed.data.id, item, quantity);

const refused = await client.POST("/api/orders", { body: { item: "", quantity: 1, address: "x" } });
console.log(refused.error?.status, refused.error?.errors?.item?.length);
