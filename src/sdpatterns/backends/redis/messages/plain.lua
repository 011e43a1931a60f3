-- queue-plain/1: publish messages that have no key and no delay and are not in the queue yet, as most have. Else nothing has
-- happened here, and the rest of the script publishes them: to make its functions takes as long as to publish one message.
if not is_again and #old == 0 and #ARGV <= 8000 then
  local at, ids, metas, bodies, ready, tenants, answers = now, {}, {}, {}, {}, {}, { 0 }
  for i = 5, #ARGV, 8 do
    local id, tenant = ARGV[i], ARGV[i + 3]
    -- A second one of the same id is not new.
    if ARGV[i + 2] ~= '' or ARGV[i + 4] ~= '0' or ARGV[i + 6] ~= '0' or ids[id] then
      ids = {}
      break
    end
    at = at + 1
    local n = #ids + 1
    ids[n], ids[id], answers[n + 1] = id, true, 1
    metas[2 * n - 1], bodies[2 * n - 1], ready[2 * n - 1] = id, id, '0'
    metas[2 * n] = pack(FORM, 'r', '-', 0, 0, at, ARGV[i + 5], at, 0, ARGV[i + 7]) .. tenant .. '\0'
    bodies[2 * n] = ARGV[i + 1]
    ready[2 * n] = tenant .. '\0' .. pack('>d', max(0, at + ARGV[i + 5])) .. id
    if not tenants[tenant] then
      tenants[#tenants + 1], tenants[tenant] = tenant, true
    end
  end
  local are_new = #ids > 0
  if #ids == 1 then
    -- A full server refuses it also where it is not new: then the rest of the script says so.
    are_new = redis.pcall('HSETNX', META, metas[1], metas[2]) == 1
    -- It is pushed to the worker that has waited longest, already leased. That saves the worker a claim.
    local credit = are_new and call('ZRANGE', CREDITS, 0, 0)[1]
    local bar = credit and find(credit, ' ', 1, true)
    while bar and bar > 1 do
      call('ZREM', CREDITS, credit)
      -- A worker that is gone hears nothing. PUBLISH alone would also count those that listen to every channel.
      local hears = redis.pcall('PUBSUB', 'NUMSUB', sub(credit, 1, bar - 1))
      if hears.err or hears[2] > 0 then break end
      credit = call('ZRANGE', CREDITS, 0, 0)[1]
      bar = credit and find(credit, ' ', 1, true)
    end
    if bar and bar > 1 and call('EXISTS', READY) == 0 then
      local id, fence = ids[1], at + 1
      local ends = fence + sub(credit, bar + 1)
      local leased = pack(HEAD, 'l', '-', fence, 1) .. sub(metas[2], 19)
      local heard = redis.pcall('PUBLISH', sub(credit, 1, bar - 1), pack('>dI4I4', ends, #id, #leased) .. id .. leased .. bodies[2])
      if type(heard) == 'number' and heard > 0 then
        call('ZADD', CREDITS, at + USED, ' ' .. credit)
        redis.pcall('PEXPIRE', CREDITS, 60000)
        call('HSET', META, id, leased)
        call('HSET', BODY, id, bodies[2])
        call('ZADD', LEASES, text('%.0f', ends), id)
        call('SET', LAST, text('%.0f', fence))
        return answers
      end
    end
  elseif are_new then
    for _, value in ipairs(call('HMGET', META, unpack(ids))) do are_new = are_new and not value end
    if are_new then call('HSET', META, unpack(metas)) end
  end
  if are_new then
    call('ZADD', READY, unpack(ready))
    for i = 1, #tenants do call('ZADD', RING, 'NX', at + i, tenants[i]) end
    redis.pcall('PUBLISH', channel, fragment)
    call('HSET', BODY, unpack(bodies))
    call('SET', LAST, text('%.0f', at + #tenants))
    return answers
  end
end
