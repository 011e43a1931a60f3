-- queue-prelude/1: what all verbs of a queue share. Their ARGV begin with the shift of time, the channel and the message of
-- the queue's signal, and for how long dead letters are kept, and end with whether this call is sent once more, because its
-- reply was lost; each answer begins with how many of these were dropped. All
-- times are in microseconds. A queue is these keys, all under one hash tag:
--   last     the newest time that the queue has used, so that its time never goes back
--   meta     hash: id -> the record of a message, packed; see the places below
--   body     hash: id -> headers and payload, as the client packed them
--   ready    zset, by text: tenant, order, id of each message that may be claimed now
--   ring     zset: the tenants that have something in `ready`, by when each was served last
--   delayed  zset: messages by when they become due
--   leases   zset: messages by when their lease ends
--   heads    hash: key -> id of its first message, which holds up the others
--   behind   zset, by text: key, number, id of each message behind the first one of its key
--   parked   zset: dead letters by when they were parked
--   credits  zset: what workers without work have left here, by when they did: a channel and a lease, with a space between.
--            Behind them, by USED more, a space and the same where a message was pushed and the worker has not come since
-- A cluster that moves the slot refuses a call while some of its keys are there and some are here. So all keys are
-- declared, and there is none for each tenant or each key, which would be met only in the middle of a step.
local call, text, byte, find, sub = redis.call, string.format, string.byte, string.find, string.sub
local min, max = math.min, math.max
local is_again = table.remove(ARGV) == '1'
local LAST, META, BODY, READY, RING, DELAYED, LEASES, HEADS, BEHIND, PARKED, CREDITS = unpack(KEYS)
-- A record is STATE, HOW, FENCE, ATTEMPT, DUE, RANK, PUBLISHED, NUMBER and TOKEN by `struct`, then TENANT, NUL, KEY, and for a
-- dead letter NUL, REASON. STATE: r(eady), d(elayed), l(eased), b(ehind) or p(arked). HOW its last claim ended:
-- r(equeued), p(arked), e(xpired) or '-'. NUMBER: its place behind its key. TOKEN: see `publish.lua`. TENANT and KEY contain no NUL; a KEY begins
-- with 'k', and is empty where there is none. Numbers are big-endian, so that they sort as text.
local STATE, HOW, FENCE, ATTEMPT, DUE, RANK, PUBLISHED, NUMBER, TOKEN = 1, 2, 3, 4, 5, 6, 7, 8, 9
local TENANT, KEY, REASON = 10, 11, 12
local FORM, HEAD, TAIL = '>c1c1ddddddd', '>c1c1dd', 59
local USED = 4000000000000000
local pack, open = struct.pack, struct.unpack

local time, last = call('TIME'), tonumber(call('GET', LAST) or '0')
local now = max(time[1] * 1000000 + time[2] + ARGV[1], last)
local channel, fragment, oldest = ARGV[2], ARGV[3], now - ARGV[4]
local old = call('ZRANGEBYSCORE', PARKED, '-inf', oldest, 'LIMIT', 0, 100)
local clock = now
