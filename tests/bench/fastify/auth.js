// Checks tokens for nginx's auth_request, and names the user.
import { readFileSync } from 'node:fs'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'

const { PORT, PUBLIC_KEY } = process.env
const app = Fastify()
await app.register(jwt, {
  secret: { public: readFileSync(PUBLIC_KEY) },
  verify: { algorithms: ['ES256'], allowedIss: 'gatehouse' },
})
app.get('/', { preHandler: (request) => request.jwtVerify() }, async (request, reply) => {
  reply.header('request-user-id', request.user.sub)
  return ''
})
await app.listen({ host: '127.0.0.1', port: Number(PORT) })
