-- The steps of decision.py, for a server. Whole numbers cross as decimal text.
--   args: 'take',    owner, fingerprint, lease                -> what was found, fence, time left, answer
--         'renew',   owner, fence, lease                      -> '1' or '0'
--         'settle',  owner, fence, kind, answer, keep, topic  -> '1' or '0'
--         'release', owner, fence, topic                      -> '1' or '0'

local function read(state)
  if not state then return nil end
  local kind, fence, ends, owner, mark, body = string.match(state, '^%d+:(%a) (%d+) (%d+) (%S+) (%S+) ()')
  if not kind then error('not an idempotency record') end
  return {
    kind = kind, fence = tonumber(fence), ends = tonumber(ends), owner = owner, mark = mark,
    answer = string.sub(state, body),
  }
end

local function written(kind, fence, ends, owner, mark, answer)
  return string.format('1:%s %.0f %.0f ', kind, fence, ends) .. owner .. ' ' .. mark .. ' ' .. answer
end

local function unchanged(...) return { false }, { ... }, { 0 }, {} end

local function whole(number) return string.format('%.0f', number) end

local function take(cell, now, owner, mark, lease)
  if not cell or cell.kind == 'f' or cell.ends <= now then
    local fence = now
    if cell and cell.fence >= now then fence = cell.fence + 1 end
    local keep = math.ceil(2 * lease / 1000)
    return { written('c', fence, now + lease, owner, mark, '') }, { 'c', whole(fence), whole(lease), '' }, { keep }, {}
  end
  local fence, left = whole(cell.fence), whole(cell.ends - now)
  if cell.mark ~= mark then return unchanged('r', fence, left, '') end
  if cell.kind ~= 'c' then return unchanged(cell.kind, fence, left, cell.answer) end
  return unchanged(cell.owner == owner and 'c' or 'b', fence, left, '')
end

local function renew(cell, now, lease)
  if cell.kind ~= 'c' then return unchanged('0') end
  local ends = math.max(cell.ends, now + lease)
  local keep = math.ceil((ends - now + lease) / 1000)
  return { written('c', cell.fence, ends, cell.owner, cell.mark, cell.answer) }, { '1' }, { keep }, {}
end

local function settle(cell, now, kind, answer, keep, topic)
  if cell.kind ~= 'c' then return unchanged(cell.kind ~= 'f' and '1' or '0') end
  local done = written(kind, cell.fence, now + keep, cell.owner, cell.mark, answer)
  return { done }, { '1' }, { math.ceil(keep / 1000) }, { topic }
end

local function release(cell, now, topic)
  if cell.kind ~= 'c' then return unchanged('0') end
  if cell.fence < now then return { true }, { '1' }, { 0 }, { topic } end
  local free = written('f', cell.fence, now, cell.owner, cell.mark, '')
  return { free }, { '1' }, { 1000 + math.ceil((cell.fence - now) / 1000) }, { topic }
end

return function(states, now, args)
  local cell, what, owner = read(states[1]), args[1], args[2]
  if what == 'take' then return take(cell, now, owner, args[3], tonumber(args[4])) end
  local fence = tonumber(args[3])
  local mine = cell and cell.owner == owner and (fence == cell.fence or fence == 0)
  if not mine then return unchanged('0') end
  if what == 'renew' then return renew(cell, now, tonumber(args[4])) end
  if what == 'settle' then return settle(cell, now, args[4], args[5], tonumber(args[6]), args[7]) end
  return release(cell, now, args[4])
end
