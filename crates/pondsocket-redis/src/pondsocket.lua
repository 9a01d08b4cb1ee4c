#!lua name=pondsocket
-- The histories of PondSocket channels in Redis, and the function `ps_publish`, with which any program publishes into a channel.
-- Installed as it is:   redis-cli -x FUNCTION LOAD REPLACE < pondsocket.lua
-- Without the first line it is a script for EVAL, with the arguments of the function, for Redis 6.2, which has no functions.
-- docs/publishing.md describes the arguments. The nodes run the first part of this text as a script of their own.

-- A number that every change of this file increases, so that a node replaces older functions only.
local VERSION = 3

-- The time for which a history goes on behind its messages, in milliseconds: a day. A quiet channel must not begin anew with
-- each message, because its members would be told of a gap.
local NUMBERED = 86400000

-- A number without the exponent that Lua writes.
local function whole(number)
  return string.format('%.0f', number)
end

-- Reads the hash of a history, and the generation of the data: the id of the replication, which changes when a replica becomes the
-- primary and when Redis starts. After both the end of a history may be missing, so a history of another generation is not
-- continued. The id is read each time, because a connection may outlive a demotion and the promotion that follows. Some
-- services hide it. Returns nil and an error if nothing can be appended. `writer` is the field with the last connection on which a
-- node has repeated a message, if one appends.
local function read_state(keys, writer)
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then
    return nil, redis.error_reply('READONLY this Redis is a replica')
  end
  local generation = string.match(info, 'master_replid:(%w+)')
    or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if not generation then return nil, redis.error_reply('ERR INFO shows no master_replid and no run_id') end
  local fields = redis.call('HMGET', keys[2], 'generation', 'epoch', 'top', 'until', 'bytes', 'bound', writer or '')
  return {
    generation = generation, goes_on = fields[1] == generation, epoch = fields[2], top = fields[3], expires = fields[4],
    bytes = fields[5] or '0', bound = fields[6], connection = fields[7],
  }
end

-- The time in milliseconds.
local function milliseconds(time)
  return whole(time[1] * 1000 + math.floor(time[2] / 1000))
end

-- Returns the last blocks of a history that stay, and the offset behind which messages stay, if blocks are removed. A block is a run of
-- messages, written as its last offset and its bytes. It ends with the message by which it has an eighth of the bound. So the blocks
-- that stay have an eighth more than the bound, a quarter with the messages behind them, which have `bytes`; and all messages that the
-- bound allows stay. No text is read again for that.
local function last_blocks(blocks, bytes, bound)
  local list = {}
  for block, last, size in string.gmatch(blocks, '((%d+):(%d+))') do list[#list + 1] = { block, last, size } end
  local stay = ''
  for at = #list, 1, -1 do
    bytes = bytes + list[at][3]
    if bytes > bound * 1.125 then return stay, list[at][2] end
    stay = list[at][1] .. ' ' .. stay
  end
  return stay
end

-- Appends a message and publishes it on a topic. Returns its position or an error. Its id in the stream is `<offset>-<time>`. A
-- stream that is missing before its time was evicted: then the history begins anew, as it does without the hash. If the topic
-- is forbidden the history ends, because the message must not be kept, and its offset must not be given again. Keys that do not
-- exist are not deleted: behind any other change Redis does not refuse a message for lack of memory. A message is
-- `text(position)`; `known(epoch)`, if it may be there already, its offset then; `messages`, `bytes` and `ttl`, the bounds of the history;
-- and `epoch`, that of a history that begins with it.
--
-- The field `blocks` has the blocks of a history, `bytes` the bytes behind them, and `bound` the bytes that it keeps. A node of an
-- earlier version counts nothing: what it has appended is removed later, with the blocks around it.
local function append(keys, topic, history, now, message)
  local function add(epoch, top)
    local offset = whole(top + 1)
    local position = epoch .. '.' .. offset
    local text = message.text(position)
    local id = offset .. '-' .. now
    local expires = whole(now + message.ttl)
    local messages, bytes, blocks = message.messages, #text, nil
    if top + 0 > 0 then bytes = bytes + history.bytes end
    local ends_block = bytes * 8 >= message.bytes + 0
    if ends_block or history.bound ~= message.bytes then
      local removed
      blocks = top + 0 > 0 and redis.call('HMGET', keys[2], 'blocks')[1] or ''
      if ends_block then blocks, bytes = blocks .. offset .. ':' .. whole(bytes), 0 end
      blocks, removed = last_blocks(blocks, bytes, message.bytes + 0)
      if removed then messages = whole(math.min(messages, offset - removed)) end
    end
    redis.call('XADD', keys[1], 'MAXLEN', messages, id, 'd', text)
    if top + 0 > 0 and not blocks then
      redis.call('HSET', keys[2], 'top', offset, 'until', expires, 'bytes', whole(bytes))
    else
      redis.call('HSET', keys[2], 'generation', history.generation, 'epoch', epoch, 'top', offset, 'until', expires,
        'bytes', whole(bytes), 'bound', message.bytes, 'blocks', blocks or '')
    end
    redis.call('PEXPIRE', keys[1], message.ttl)
    redis.call('PEXPIRE', keys[2], whole(message.ttl + NUMBERED))
    local published = redis.pcall('PUBLISH', topic, text)
    if type(published) == 'table' then
      redis.call('DEL', keys[1], keys[2])
      return published
    end
    return position
  end
  if history.goes_on then
    local known = message.known and message.known(history.epoch)
    if known then return history.epoch .. '.' .. known end
    local is_evicted = history.top + 0 > 0 and now + 0 < history.expires + 0 and redis.call('EXISTS', keys[1]) == 0
    if not is_evicted then return add(history.epoch, history.top) end
  end
  if history.epoch == message.epoch then return redis.error_reply('ERR this epoch is that of an earlier history') end
  if redis.call('EXISTS', keys[1], keys[2]) > 0 then redis.call('DEL', keys[1], keys[2]) end
  return add(message.epoch, 0)
end

-- The end of what the nodes run. The rest is the function.

-- The number of ids for each channel of which Redis knows that they were published.
local KNOWN_IDS = 1000

-- The bytes that a history keeps if no node has said how many: what nodes say by default.
local BYTES = '393216'

-- The deepest nesting of arrays and objects that nodes accept.
local MAX_DEPTH = 100

-- Names that the protocol uses itself.
local ENDPOINTS = { __node__ = true, __cluster__ = true, __heartbeat__ = true }
local CHANNELS = { GATEWAY = true, ENDPOINT = true, CHANNEL = true }
local EVENTS = {
  ACKNOWLEDGE = true, EXIT_ACKNOWLEDGE = true, UNAUTHORIZED = true, NOT_FOUND = true, INTERNAL_ERROR = true,
  CONNECTION = true, EVICTED = true,
}

-- The longest name of an endpoint or a channel in bytes, and the longest id.
local MAX_NAME, MAX_ID = 4096, 128

-- The sequences of UTF-8 for all characters beyond ASCII.
local SEQUENCES = {
  '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
  '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
  '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}

local function is_utf8(text)
  for _, sequence in ipairs(SEQUENCES) do
    if not string.find(text, '[\128-\255]') then return true end
    -- A space, so that what is left on both sides does not form a sequence.
    text = string.gsub(text, sequence, ' ')
  end
  return not string.find(text, '[\128-\255]')
end

-- The functions below read a part of a JSON text at a place. They return the place behind it, or nil and what is wrong. The
-- payload is not decoded and encoded again, because that would change its numbers.

local SYNTAX = 'is no valid JSON'

local function skip_space(text, at)
  return string.match(text, '^[ \t\r\n]*()', at)
end

local function read_string(text, at)
  if string.sub(text, at, at) ~= '"' then return nil, SYNTAX end
  at = at + 1
  while true do
    at = string.find(text, '[%z\1-\31"\\]', at)
    if not at then return nil, SYNTAX end
    if string.sub(text, at, at) == '"' then return at + 1 end
    local unit = string.match(text, '^\\u(%x%x%x%x)', at)
    unit = unit and tonumber(unit, 16)
    if unit and unit >= 0xD800 and unit <= 0xDFFF then
      local is_pair = unit < 0xDC00 and string.find(text, '^\\u[dD][c-fC-F]%x%x', at + 6)
      if not is_pair then return nil, 'has half a surrogate pair' end
      at = at + 12
    elseif unit then
      at = at + 6
    elseif string.find(text, '^\\["\\/bfnrt]', at) then
      at = at + 2
    else
      return nil, SYNTAX
    end
  end
end

local function read_number(text, at)
  local digits, behind = string.match(text, '^%-?(%d+)()', at)
  if not digits or string.find(digits, '^0%d') then return nil, SYNTAX end
  if string.sub(text, behind, behind) == '.' then
    behind = string.match(text, '^%.%d+()', behind)
    if not behind then return nil, SYNTAX end
  end
  if string.find(text, '^[eE]', behind) then
    behind = string.match(text, '^[eE][+-]?%d+()', behind)
    if not behind then return nil, SYNTAX end
  end
  if math.abs(tonumber(string.sub(text, at, behind - 1))) == math.huge then
    return nil, 'has a number that no double holds'
  end
  return behind
end

local read_value

-- Reads the items of an array or an object behind its opening bracket.
local function read_items(text, at, depth, close, read_item)
  at = skip_space(text, at + 1)
  if string.sub(text, at, at) == close then return at + 1 end
  while true do
    local behind, why = read_item(text, at, depth)
    if not behind then return nil, why end
    at = skip_space(text, behind)
    local byte = string.sub(text, at, at)
    if byte == close then return at + 1 end
    if byte ~= ',' then return nil, SYNTAX end
    at = skip_space(text, at + 1)
  end
end

local function read_field(text, at, depth)
  local behind, why = read_string(text, at)
  if not behind then return nil, why end
  at = string.match(text, '^[ \t\r\n]*:[ \t\r\n]*()', behind)
  if not at then return nil, SYNTAX end
  return read_value(text, at, depth)
end

function read_value(text, at, depth)
  local byte = string.sub(text, at, at)
  if byte == '"' then return read_string(text, at) end
  if byte == '{' or byte == '[' then
    if depth == MAX_DEPTH then return nil, 'is nested deeper than ' .. MAX_DEPTH .. ' levels' end
    if byte == '{' then return read_items(text, at, depth + 1, '}', read_field) end
    return read_items(text, at, depth + 1, ']', read_value)
  end
  local behind = string.match(text, '^true()', at) or string.match(text, '^false()', at)
    or string.match(text, '^null()', at)
  if behind then return behind end
  return read_number(text, at)
end

-- Returns what is wrong with a payload, or nil.
local function payload_fault(text)
  if not is_utf8(text) then return 'is not UTF-8' end
  local at = skip_space(text, 1)
  if string.sub(text, at, at) ~= '{' then return 'is no JSON object' end
  local behind, why = read_value(text, at, 0)
  if not behind then return why end
  if skip_space(text, behind) <= #text then return SYNTAX end
end

-- Returns what is wrong with a name, or nil.
local function name_fault(text, most, reserved)
  if #text > most then return 'is longer than ' .. most .. ' bytes' end
  if not is_utf8(text) then return 'is not UTF-8' end
  if reserved[text] then return 'is reserved' end
end

-- Reads `id`, `messages` and `ttl` behind the fixed arguments. Returns nil and what is wrong.
local function read_options(arguments)
  local options = {}
  for at = 6, #arguments, 2 do
    local name, value = string.lower(arguments[at]), arguments[at + 1]
    if options[name] then return nil, name .. ' is there twice' end
    if not value then return nil, 'the option ' .. name .. ' has no value' end
    if name == 'id' then
      if not string.find(value, '^[%w%.:_~-]+$') or #value > MAX_ID then
        return nil, 'id is not 1 to ' .. MAX_ID .. ' letters, digits, dots, colons, hyphens, underscores and tildes'
      end
    elseif name == 'messages' or name == 'ttl' then
      local most = name == 'messages' and 4294967295 or 3153600000000
      if not string.find(value, '^[1-9]%d*$') or #value > 13 or tonumber(value) > most then
        return nil, name .. ' is no whole number from 1 to ' .. whole(most)
      end
    else
      return nil, 'there is no option ' .. string.gsub(string.sub(name, 1, 40), '[%c]', '?')
    end
    options[name] = value
  end
  return options
end

-- An epoch that no history has had: the time in microseconds, in base 36. The random ones of the nodes are shorter.
local function fresh_epoch(time)
  local digits = '0123456789abcdefghijklmnopqrstuvwxyz'
  local number, text = time[1] * 1000000 + time[2], ''
  while number > 0 or #text < 6 do
    local digit = math.fmod(number, 36)
    text = string.sub(digits, digit + 1, digit + 1) .. text
    number = (number - digit) / 36
  end
  return text
end

-- Returns the text of a message at a position: what nodes in all languages read. A sender without a node has no `n` and no `i` in
-- `ext`. White space between the parts of a payload may break the line, which a message must not.
local function writer(endpoint, channel, event, payload, now)
  local function quote(text)
    return (string.gsub(cjson.encode(text), '\\/', '/'))
  end
  if string.find(payload, '\n', 1, true) or string.find(payload, '\r', 1, true) then
    payload = string.gsub(payload, '[\r\n]', ' ')
  end
  return function(position)
    return '{"protocol":"pondsocket.distributed","version":1,"sourceNodeId":"__publisher__","type":"USER_MESSAGE",'
      .. '"messageId":"' .. position .. '-' .. now .. '","endpointName":' .. quote(endpoint)
      .. ',"channelName":' .. quote(channel) .. ',"timestamp":' .. now .. ',"fromUserId":"CHANNEL","event":'
      .. quote(event) .. ',"payload":' .. payload
      .. ',"requestId":"' .. position .. '","recipientDescriptor":"ALL_USERS","ext":{"v":1,"k":1}}'
  end
end

-- Publishes a message to all members of a channel and keeps it in the history. Returns its position.
local function publish(_, arguments)
  local function refuse(why)
    return redis.error_reply('ERR ps_publish: ' .. why)
  end
  if #arguments < 5 then return refuse('the arguments are namespace, endpoint, channel, event, payload and options') end
  local namespace, endpoint, channel, event, payload = unpack(arguments, 1, 5)
  endpoint = string.gsub(endpoint, '^/+', '')
  if not string.find(namespace, '^%S+:v1:%S*[^%s:]$') or not is_utf8(namespace) then
    return refuse('namespace is not of the form pondsocket:v1:default')
  end
  local why = name_fault(endpoint, MAX_NAME, ENDPOINTS)
  if not why and string.find(endpoint, '^__node__:') then why = 'is reserved' end
  if why then return refuse('endpoint ' .. why) end
  why = channel == '' and 'is empty' or name_fault(channel, MAX_NAME, CHANNELS)
  if why then return refuse('channel ' .. why) end
  why = event == '' and 'is empty' or name_fault(event, MAX_NAME, EVENTS)
  if why then return refuse('event ' .. why) end
  why = payload_fault(payload)
  if why then return refuse('payload ' .. why) end
  local options, fault = read_options(arguments)
  if not options then return refuse(fault) end

  local topic = namespace .. ':' .. endpoint .. ':' .. channel
  local base = namespace .. ':__history__:{' .. endpoint .. ':' .. channel .. '}:'
  local keys = { base .. 's', base .. 'm' }
  local history, failure = read_state(keys)
  if not history then return failure end
  local time = redis.call('TIME')
  local now = milliseconds(time)

  -- A history is never made shorter than the nodes made it: they know its bounds.
  local messages, ttl = tonumber(options.messages or 256), tonumber(options.ttl or 120000)
  if history.goes_on then
    messages = math.max(messages, redis.call('XLEN', keys[1]))
    if history.expires then ttl = math.max(ttl, history.expires - now) end
  end

  -- The ids belong to an epoch: a history that begins anew has lost their messages.
  local function ids(epoch)
    return base .. 'i:' .. epoch
  end
  local is_known = false
  local function known(epoch)
    local offset = redis.call('ZSCORE', ids(epoch), options.id)
    is_known = not not offset
    return offset and whole(offset)
  end
  local position = append(keys, topic, history, now, {
    text = writer(endpoint, channel, event, payload, now),
    known = options.id and known,
    messages = whole(messages),
    bytes = history.bound or BYTES,
    ttl = whole(ttl),
    epoch = fresh_epoch(time),
  })
  if options.id and type(position) == 'string' and not is_known then
    local epoch, offset = string.match(position, '^(%w+)%.(%d+)$')
    redis.call('ZADD', ids(epoch), offset, options.id)
    redis.call('ZREMRANGEBYRANK', ids(epoch), 0, -1 - KNOWN_IDS)
    redis.call('PEXPIRE', ids(epoch), whole(ttl + NUMBERED))
  end
  return position
end

if redis.register_function then
  redis.register_function('ps_publish', publish)
  redis.register_function({
    function_name = 'ps_version', callback = function() return VERSION end, flags = { 'no-writes' },
  })
else
  return publish(KEYS, ARGV)
end
