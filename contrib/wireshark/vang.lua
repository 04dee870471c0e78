-- vang.lua: Wireshark and TShark show vang's native messages (docs/PROTOCOL.md, section 1).
--
--   | header length: u16 big-endian | header: JSON, UTF-8 | content: `content-length` bytes |
--
-- Put it into Wireshark's folder for personal Lua plugins (Help > About > Folders), or name it:
--
--   tshark -X lua_script:vang.lua -r talk.pcapng -Y vang -O vang
--
-- TCP port 65432 is vang's; on any other port a segment that begins as a message does is taken for one, and "Decode As"
-- (-d tcp.port==7000,vang) says so of a port whose segments do not. Messages are put together over segments, several in
-- one segment are told apart, and the events that are a message's content are shown within it. Fields: vang.header,
-- vang.content, one for each key that vang sends (vang.action, vang.room, ...), and vang.key for all others. Other
-- clients of the port (HTTP, typed lines) are left to Wireshark's own dissectors.

local vang = Proto("vang", "vang message")

local PORT = 65432
-- A content of this type is messages itself: events, back to back.
local EVENTS = "application/vang-events"
local REQUIRED = { "byteorder", "content-type", "content-encoding", "content-length" }
local KEYS = {
  "byteorder", "content-type", "content-encoding", "content-length", "action", "as", "room", "id", "re", "status",
  "code", "detail", "event", "seq", "n", "from", "to", "time", "why", "since", "limit", "last", "end", "journal",
  "epoch", "access", "who", "name", "part", "found", "key", "retry-after",
}

local f = {
  header_length = ProtoField.uint16("vang.header_length", "Header length", base.DEC),
  header = ProtoField.string("vang.header", "Header"),
  content = ProtoField.bytes("vang.content", "Content"),
  text = ProtoField.string("vang.text", "Text"),
  key = ProtoField.string("vang.key", "Key"),
}
local key_fields = {}
for _, key in ipairs(KEYS) do
  key_fields[key] = ProtoField.string("vang." .. key:gsub("-", "_"), key)
end
vang.fields = { f.header_length, f.header, f.content, f.text, f.key }
for _, key in ipairs(KEYS) do
  table.insert(vang.fields, key_fields[key])
end

local malformed = ProtoExpert.new("vang.malformed", "Malformed message", expert.group.MALFORMED, expert.severity.ERROR)
vang.experts = { malformed }

-- Conversations in which a message was seen: what follows there is vang's, too, or broken.
local stream_number = Field.new("tcp.stream")
local is_vang = {}
function vang.init()
  is_vang = {}
end

-- JSON as far as a header needs it: the members of one object, each value as its text stands.
-- Gives a list of { key, value, from, to } with places in `json` (from 1), or nil and the place of what is wrong.
local function members(json)
  local at = 1
  local function space()
    at = json:find("[^ \t\r\n]", at) or #json + 1
  end
  local function string_end(from)
    local here = from + 1
    while true do
      local found = json:find('["\\]', here)
      if not found then return nil end
      if json:sub(found, found) == '"' then return found end
      here = found + 2
    end
  end
  local function value_end(from)
    local first = json:sub(from, from)
    if first == '"' then return string_end(from) end
    if first ~= "{" and first ~= "[" then
      local stop = json:find("[,}%] \t\r\n]", from)
      if not stop or stop == from then return nil end
      return stop - 1
    end
    local depth, here = 0, from
    while here <= #json do
      local c = json:sub(here, here)
      if c == '"' then
        here = string_end(here)
        if not here then return nil end
      elseif c == "{" or c == "[" then
        depth = depth + 1
      elseif c == "}" or c == "]" then
        depth = depth - 1
        if depth == 0 then return here end
      end
      here = here + 1
    end
    return nil
  end
  space()
  if json:sub(at, at) ~= "{" then return nil, at end
  at = at + 1
  local found = {}
  space()
  if json:sub(at, at) == "}" then return found end
  while true do
    space()
    if json:sub(at, at) ~= '"' then return nil, at end
    local key_end = string_end(at)
    if not key_end then return nil, at end
    local key = json:sub(at + 1, key_end - 1)
    local from = at
    at = key_end + 1
    space()
    if json:sub(at, at) ~= ":" then return nil, at end
    at = at + 1
    space()
    local last = value_end(at)
    if not last then return nil, at end
    table.insert(found, { key = key, value = json:sub(at, last), from = from, to = last })
    at = last + 1
    space()
    local c = json:sub(at, at)
    if c == "}" then return found end
    if c ~= "," then return nil, at end
    at = at + 1
  end
end

local function unquoted(value)
  local inner = value:match('^"(.*)"$')
  if not inner then return value end
  return (inner:gsub('\\(["\\/])', "%1"))
end

local function content_length(found)
  local length
  for _, member in ipairs(found) do
    -- The last of two counts.
    if member.key == "content-length" then length = member.value end
  end
  return length and length:match("^%d+$") and tonumber(length)
end

-- How long the message at `offset` is; nil while more bytes must tell; 0 if it is none. A conversation's first message
-- has its brace at the third byte, by which the server, too, knows it from other protocols.
local function message_length(tvb, offset, is_first)
  local left = tvb:len() - offset
  if left < 2 then return nil end
  local header = tvb(offset, 2):uint()
  if header < 2 then return 0 end
  if is_first and left > 2 and tvb(offset + 2, 1):uint() ~= 0x7b then return 0 end
  if left < 2 + header then return nil end
  local found = members(tvb:raw(offset + 2, header))
  local content = found and content_length(found)
  if not content then return 0 end
  return 2 + header + content
end

local function summary(values)
  local kind = values["action"] or values["event"] or values["status"]
  local text = kind and unquoted(kind) or unquoted(values["content-type"] or "message")
  if values["code"] then text = text .. " " .. unquoted(values["code"]) end
  if values["room"] then text = text .. " #" .. unquoted(values["room"]) end
  return text
end

local function show_malformed(tvb, tree, at, why)
  local place = tvb(at, math.min(tvb:len() - at, 16))
  tree:add(vang, place, "Malformed: " .. why):add_proto_expert_info(malformed, why)
end

-- `tvb` is the message. Events are opened, what is within them is not.
local function show_message(tvb, tree, is_event)
  local length = tvb:len()
  local header = tvb(0, 2):uint()
  local json = tvb:raw(2, header)
  local found = members(json)
  local node = tree:add(vang, tvb(0, length))
  node:add(f.header_length, tvb(0, 2))
  local header_node = node:add(f.header, tvb(2, header), json)
  local values = {}
  for _, member in ipairs(found) do
    values[member.key] = member.value
    local place = tvb(2 + member.from - 1, member.to - member.from + 1)
    local field = key_fields[member.key]
    if field then
      header_node:add(field, place, unquoted(member.value))
    else
      header_node:add(f.key, place, member.key .. ": " .. unquoted(member.value))
    end
  end
  for _, key in ipairs(REQUIRED) do
    if not values[key] then
      show_malformed(tvb, node, 2, "missing required header '" .. key .. "'")
    end
  end
  local content = length - 2 - header
  if content > 0 then
    local place = tvb(2 + header, content)
    node:add(f.content, place)
    local offset = 2 + header
    while not is_event and unquoted(values["content-type"] or "") == EVENTS and offset < length do
      local event = message_length(tvb, offset, true)
      if not event or event == 0 or offset + event > length then
        show_malformed(tvb, node, offset, "no event begins here")
        break
      end
      show_message(tvb(offset, event):tvb(), node, true)
      offset = offset + event
    end
    local encoding = unquoted(values["content-encoding"] or ""):lower()
    if encoding == "utf-8" or encoding == "utf8" or encoding == "ascii" then
      node:add(f.text, place, place:string(ENC_UTF_8))
    end
  end
  local text = summary(values)
  node:append_text(": " .. text)
  return text
end

function vang.dissector(tvb, pinfo, tree)
  local offset, said = 0, {}
  local number = stream_number()
  local stream = number and number.value
  while offset < tvb:len() do
    local length = message_length(tvb, offset, not is_vang[stream])
    if length == 0 then
      if not is_vang[stream] then return 0 end
      pinfo.cols.protocol = "vang"
      show_malformed(tvb, tree, offset, "no message begins here")
      return tvb:len()
    end
    if not length or offset + length > tvb:len() then
      -- The rest comes with later segments.
      pinfo.desegment_offset = offset
      pinfo.desegment_len = length and offset + length - tvb:len() or DESEGMENT_ONE_MORE_SEGMENT
      pinfo.cols.protocol = "vang"
      return tvb:len()
    end
    if stream then is_vang[stream] = true end
    table.insert(said, show_message(tvb(offset, length):tvb(), tree, false))
    offset = offset + length
  end
  pinfo.cols.protocol = "vang"
  pinfo.cols.info = table.concat(said, ", ")
  return tvb:len()
end

-- What begins as a message does: two length bytes, then an object with one of the four keys near its beginning.
local function begins_as_message(tvb)
  if tvb:len() < 16 or tvb(2, 1):uint() ~= 0x7b then return false end
  local header = tvb(0, 2):uint()
  if header < 2 then return false end
  local json = tvb:raw(2, math.min(header, tvb:len() - 2))
  if #json == header then
    local found = members(json)
    return found ~= nil and content_length(found) ~= nil
  end
  return json:find('"byteorder"', 1, true) ~= nil or json:find('"content-', 1, true) ~= nil
end

vang:register_heuristic("tcp", function(tvb, pinfo, tree)
  if not begins_as_message(tvb) then return false end
  vang.dissector(tvb, pinfo, tree)
  -- The rest of the conversation is vang's too.
  pinfo.conversation = vang
  return true
end)

DissectorTable.get("tcp.port"):add(PORT, vang)
