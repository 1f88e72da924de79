-- Sends the token in $BENCH_TOKEN with every request, and what $BENCH_USER and $BENCH_BODY say, if they do; the last line of the output is the result as JSON.
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
if (os.getenv("BENCH_USER") or "") ~= "" then
  wrk.headers["Request-User-Id"] = os.getenv("BENCH_USER")
end
if (os.getenv("BENCH_BODY") or "") ~= "" then
  wrk.method, wrk.body = "POST", os.getenv("BENCH_BODY")
  wrk.headers["Content-Type"] = "application/json"
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
