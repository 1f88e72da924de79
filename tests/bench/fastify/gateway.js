// Fastify as a gateway with the same job: tokens checked, the user's id passed on, one log line a request.
import { readFileSync } from 'node:fs'
import proxy from '@fastify/http-proxy'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'

const { ACCESS_LOG, PORT, PUBLIC_KEY, UPSTREAM } = process.env
// Fastify's own request log has two lines a request.
const app = Fastify({ logger: { file: ACCESS_LOG }, disableRequestLogging: true })

app.addHook('onResponse', async (request, reply) => {
  const { method, url } = request
  request.log.info({ method, url, status: reply.statusCode, milliseconds: reply.elapsedTime, user: request.user?.sub })
})
await app.register(jwt, {
  secret: { public: readFileSync(PUBLIC_KEY) },
  verify: { algorithms: ['ES256'], allowedIss: 'gatehouse', cache: 1000 },
})
await app.register(proxy, {
  upstream: UPSTREAM,
  undici: { connections: 128, pipelining: 1, keepAliveTimeout: 60_000 },
  preHandler: (request) => request.jwtVerify(),
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => ({ ...headers, 'request-user-id': request.user.sub }),
  },
})
await app.listen({ host: '127.0.0.1', port: Number(PORT) })
