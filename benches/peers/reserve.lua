-- A reserve as a shop makes it with Valkey or Redis: one atomic script. The same id has one answer, stock is taken, a record
-- is kept, and it is known when it falls due. No limit per user, no opening times, no payment, no order: Doorbuster's reserve
-- checks those too.
-- KEYS: the product's stock, the reservation's record, the product's deadlines. ARGV: user, quantity, how long it is held in ms.
local known = redis.call('GET', KEYS[2])
if known then
    local mine = ARGV[1] .. ':' .. ARGV[2] .. ':'
    if string.sub(known, 1, #mine) == mine then return known end
    return redis.error_reply('CONFLICT this id was used for another reservation')
end
if tonumber(redis.call('GET', KEYS[1])) < tonumber(ARGV[2]) then return false end
redis.call('DECRBY', KEYS[1], ARGV[2])
local time = redis.call('TIME')
local deadline = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3])
local record = ARGV[1] .. ':' .. ARGV[2] .. ':' .. deadline
redis.call('SET', KEYS[2], record)
redis.call('ZADD', KEYS[3], deadline, KEYS[2])
return record
