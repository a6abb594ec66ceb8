-- What this proxy knows of each PostgreSQL node: whether it answers, and whether it accepts writes. A session of
-- holdfast_check is kept open to each and asked ten times a second; the checks of haproxy.cfg ask here, by a
-- command of the runtime API. A login for each check was a quarter of what the idle stack costs (docs/decisions/0051).
--
-- A server goes up and down by its own check (`fall`, `rise`). One thing is faster: who begins, or ceases, to accept
-- writes is up, or down, in pg_primary at once. Writes wait for both, as two writable nodes get none, and checks that
-- are as quick would be most of what this process does while nothing happens. They ask the same table, so they agree.

-- Seconds.
local BETWEEN = 0.1 -- from an answer to the next question
local AGAIN = 0.15 -- from a login that failed to the next
local SILENT = 0.25 -- to connect, and to an answer on an open session; then another login is tried
local LATE = 1.0 -- to the answer of a login: a busy machine takes its time
local AGE = 5.0 -- of a session, at most: that one is logged in says nothing of who would be now
local STALE = 5.0 -- what is older is not known; longer than any turn

-- What may fail in a row before a node is down: a session that ends, a login.
local FALL = 2

-- What is on the wire: PostgreSQL's protocol 3.0 (its manual, "Message Formats"), each in one packet.
-- transaction_read_only is off only where the node is not in recovery AND default_transaction_read_only is off. A
-- standby that pg_auto_failover has promoted but still holds back is therefore not writable here, as it is not for a
-- client (SQLSTATE 25006).
local PARAMETERS = "user\0holdfast_check\0database\0postgres\0\0"
local LOGIN = string.pack(">I4I4", 8 + #PARAMETERS, 196608) .. PARAMETERS
local QUERY = "SHOW transaction_read_only\0"
local QUESTION = "Q" .. string.pack(">I4", 4 + #QUERY) .. QUERY
local WORDS = { off = "writable", on = "read-only" }
local ANSWERS = { "writable", "read-only", "busy", "down" } -- all there are
local TOO_MANY_CONNECTIONS = "53300"
local MOST = 100 -- messages of an answer; none to these has nearly as many

-- Name of a node to {word, when}: "writable", "read-only", "busy" (no place for one more session), or "down: " and why.
local known = {}

local function seconds()
    local now = core.now()
    return now.sec + now.usec / 1e6
end

local function tell(node, word)
    local before = known[node] and known[node].word
    known[node] = { word = word, at = seconds() }
    if word == before then return end
    local server = core.backends["pg_primary"].servers[node]
    if word == "writable" then
        server:check_force_up()
    elseif before == "writable" then
        server:check_force_down()
    end
end

-- The fields of an ErrorResponse that are wanted: SQLSTATE and message.
local function refused(body)
    local state, message = "", ""
    for code, text in body:gmatch("(%a)([^\0]*)\0") do
        if code == "C" then state = text elseif code == "M" then message = text end
    end
    return state, message
end

-- Reads until the node waits for a question. Returns the value of a row, if one came; else why not: SQLSTATE (or
-- nothing) and words.
local function answer(socket)
    local value, state, message
    for _ = 1, MOST do
        local head, closed = socket:receive(5)
        if not head then return nil, state, message or closed end
        local kind, length = string.unpack(">c1I4", head)
        local body = ""
        if length > 4 then
            body, closed = socket:receive(length - 4)
            if not body then return nil, state, message or closed end
        end
        if kind == "D" then
            -- One column: how many there are, its length, its text.
            if #body ~= 8 and #body ~= 9 then break end
            value = body:sub(7)
        elseif kind == "E" then
            state, message = refused(body)
        elseif kind == "Z" then
            return value, state, message
        end
    end
    return nil, nil, "that is not PostgreSQL"
end

-- What the node says of itself: a word, or nothing, a SQLSTATE (or nothing) and why.
local function word_of(socket)
    local value, state, message = answer(socket)
    return value and (WORDS[value] or "down: it says " .. value), state, message
end

local function ask(socket)
    if not socket:send(QUESTION) then return nil end
    return word_of(socket)
end

-- Returns a session and the node's word; or nothing, and why as above.
local function log_in(host, port)
    local socket = core.tcp()
    socket:settimeout(SILENT)
    if not socket:connect(host, tonumber(port)) then
        socket:close()
        return nil, nil, nil, "no connection"
    end
    socket:settimeout(LATE)
    socket:send(LOGIN .. QUESTION)
    local _, state, message = answer(socket)
    local word
    if not message then word, state, message = word_of(socket) end
    if not word then
        socket:close()
        return nil, nil, state, message
    end
    socket:settimeout(SILENT)
    return socket, word
end

-- One node: `turn` looks at it once and returns how long to wait before the next look.
local function watcher(node, server)
    local session, since, failed = nil, 0, 0
    -- Where PostgreSQL itself is, if clients are sent to a pooler in front of it.
    local own = os.getenv(node:upper() .. "_CHECK_PORT")
    local self = {}

    function self.forget()
        if session then session:close() end
        session = nil
    end

    function self.turn()
        local host, port = server:get_addr():match("^(.*):(%d+)$")
        if not port then
            tell(node, "down: its name has no address")
            return 1
        end
        local word
        if session and seconds() - since < AGE then
            word = ask(session)
            if not word then
                self.forget()
                failed = failed + 1
            end
        end
        if not word then
            local fresh, state, message
            fresh, word, state, message = log_in(host, own or port)
            if fresh then
                self.forget()
                session, since = fresh, seconds()
            elseif state == TOO_MANY_CONNECTIONS then
                -- Whoever has a session still hears by it.
                since = seconds()
                word = session and ask(session) or "busy"
            else
                failed = failed + 1
                -- Once may be chance: what was known stays known.
                if failed < FALL and known[node] then
                    tell(node, known[node].word)
                else
                    self.forget()
                    tell(node, "down: " .. (message or "no answer"))
                end
                return AGAIN
            end
        end
        failed = 0
        tell(node, word)
        return BETWEEN
    end

    return self
end

core.register_init(function()
    for node, server in pairs(core.backends["pg_any"].servers) do
        core.register_task(function()
            local watch = watcher(node, server)
            while true do
                local done, pause = pcall(watch.turn)
                if not done then
                    -- A fault of this file must not end the watch: it begins anew.
                    core.Alert("nodes.lua, " .. node .. ": " .. tostring(pause))
                    tell(node, "down: a fault of nodes.lua, see the log")
                    pcall(watch.forget)
                    watch, pause = watcher(node, server), 1
                end
                core.msleep(math.floor(pause * 1000))
            end
        end)
    end
end)

-- `show node NAME` of the runtime API: a line with what is known of it.
core.register_cli({ "show", "node" }, "show node NAME: what it last said of itself", function(applet, _, _, node)
    local what = known[node or ""]
    if not what or seconds() - what.at > STALE then
        applet:send("down: nothing is known\n")
    else
        applet:send(what.word .. "\n")
    end
end)

-- /holdfast, in Prometheus' text format: whether this proxy has the virtual IP, as the kernel says, and what the nodes last
-- said. HAProxy's own exporter knows neither.
local VIP = os.getenv("VIP")
local HELD = VIP and "|%-%- " .. VIP:gsub("%.", "%%.") .. "\n[^\n]*/32 host LOCAL"

local function holds_vip()
    local file = io.open("/proc/net/fib_trie")
    if not file then return false end
    local text = file:read("a")
    file:close()
    return text:find(HELD) ~= nil
end

core.register_service("holdfast", "http", function(applet)
    local lines = {}
    if VIP then
        lines = {
            "# HELP holdfast_virtual_ip_held 1 while this proxy has the virtual IP.",
            "# TYPE holdfast_virtual_ip_held gauge",
            "holdfast_virtual_ip_held " .. (holds_vip() and 1 or 0),
        }
    end
    lines[#lines + 1] = "# HELP holdfast_node_answer 1 for what a node last said of itself to this proxy."
    lines[#lines + 1] = "# TYPE holdfast_node_answer gauge"
    for node, what in pairs(known) do
        local word = seconds() - what.at > STALE and "down" or what.word:match("^[^:]+")
        -- What it did not say as well: who was away while it changed must not take the old answer for one of now.
        for _, answer in ipairs(ANSWERS) do
            local said = answer == word and 1 or 0
            lines[#lines + 1] = ('holdfast_node_answer{node="%s",answer="%s"} %d'):format(node, answer, said)
        end
    end
    local body = table.concat(lines, "\n") .. "\n"
    applet:set_status(200)
    applet:add_header("content-type", "text/plain; version=0.0.4")
    applet:add_header("content-length", #body)
    applet:start_response()
    applet:send(body)
end)
