-- What wrk sends, and its figures as one line of JSON, which benchmarks/generator.py reads.
-- Arguments after `--`: nothing (the URL as it is), `read IDS` or `write RUN`.

local count = 0

local function read(ids)
  return function()
    return wrk.format("GET", "/api/users/" .. math.random(ids))
  end
end

local function write(run)
  local headers = { ["Content-Type"] = "application/json" }
  return function()
    count = count + 1
    headers["Idempotency-Key"] = '"' .. run .. "-" .. count .. '"'
    local body = '{"email": "' .. run .. "-" .. count .. '@bench.example.org", "name": "Bench"}'
    return wrk.format("POST", "/api/users", headers, body)
  end
end

function init(args)
  math.randomseed(os.time())
  if args[1] == "read" then
    request = read(tonumber(args[2]))
  elseif args[1] == "write" then
    request = write(args[2])
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, '
      .. '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status
  ))
end
