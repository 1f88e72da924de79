-- Sends the request $BENCH_REQUEST (see load.py); the last line of the output is the result as JSON.
local text = os.getenv("BENCH_REQUEST")
local before, middle, after = text:match("^(.-)@PATH@(.-)@TOKEN@(.*)$")
local routes, number = tonumber(os.getenv("BENCH_ROUTES")), tonumber(os.getenv("BENCH_START"))
local tokens = {}
if before then
  for line in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = line end
end

function request()
  if not before then return text end
  number = number + 1
  local path = number % routes .. "/" .. number % 100003 .. "?page=" .. number % 50
  return before .. path .. middle .. tokens[number % #tokens + 1] .. after
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
