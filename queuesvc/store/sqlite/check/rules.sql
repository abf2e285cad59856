-- What must hold of the rows of every store, at every commit. Each rule selects what breaks it, said in a line.
-- `held`, `gone` and `live` are made first, from `setup.sql`.

-- name: meta
SELECT CASE
    WHEN (SELECT count(*) FROM meta) = 0 AND EXISTS (SELECT 1 FROM queue UNION ALL SELECT 1 FROM exchange)
        THEN 'there is no row of meta'
    END AS what
WHERE what IS NOT NULL
UNION ALL
SELECT what FROM (
    SELECT CASE
        WHEN length(secret) <> 32 THEN printf('the secret is of %d bytes, not of 32', length(secret))
        WHEN epoch NOT BETWEEN 1 AND 4294967295 THEN printf('there is no epoch %d', epoch)
        WHEN tag NOT BETWEEN 0 AND 67108863 THEN printf('there is no tag %d', tag)
        WHEN min(next_message, next_lease, next_queue, next_binding) < 1 THEN 'a next number is below 1'
        WHEN latest_at < 0 THEN 'broker time is below 0'
        END AS what
    FROM meta)
WHERE what IS NOT NULL;

-- name: numbers
SELECT printf('message %d is not below the next number, %d', max(message.id), next_message)
FROM message, meta HAVING max(message.id) >= next_message
UNION ALL
SELECT printf('lease %d is not below the next number, %d', max(lease.id), next_lease)
FROM lease, meta HAVING max(lease.id) >= next_lease
UNION ALL
SELECT printf('message %d had lease %d, which is not below the next number, %d', message.id, max(lease_id), next_lease)
FROM message, meta HAVING max(lease_id) >= next_lease
UNION ALL
SELECT printf('queue %d is not below the next number, %d', max(queue.id), next_queue)
FROM queue, meta HAVING max(queue.id) >= next_queue
UNION ALL
SELECT printf('binding %d is not below the next number, %d', max(binding.id), next_binding)
FROM binding, meta HAVING max(binding.id) >= next_binding
UNION ALL
SELECT printf('message %d was published later than the latest moment', message.id)
FROM message, meta WHERE published_at > latest_at;

-- name: queues
SELECT printf('queue %s (%d): a counter is below 0', name, id) FROM queue
WHERE min(published, delivered, acked, nacked, expired, dropped, purged, dead_lettered, moved_in, moved_out) < 0
UNION ALL
SELECT printf('queue %s (%d): %d dead-lettered, but only %d moved out', name, id, dead_lettered, moved_out) FROM queue
WHERE dead_lettered > moved_out
UNION ALL
SELECT printf('queue %s (%d): %d acked and %d nacked, but only %d delivered', name, id, acked, nacked, delivered)
FROM queue WHERE acked + nacked > delivered;

-- name: conservation
SELECT printf('queue %s (%d): %d came (published %d, moved in %d) and %d left (acked %d, expired %d, dropped %d, '
              || 'purged %d, moved out %d), but %d are here',
              name, queue.id, published + moved_in, published, moved_in,
              acked + expired + dropped + purged + moved_out, acked, expired, dropped, purged, moved_out,
              coalesce(here, 0))
FROM queue LEFT JOIN (SELECT queue_id, count(*) AS here FROM live GROUP BY queue_id) ON queue_id = queue.id
WHERE published + moved_in <> coalesce(here, 0) + acked + expired + dropped + purged + moved_out;

-- name: bindings
SELECT printf('binding %d: there is no exchange %s', id, source) FROM binding
WHERE source NOT IN (SELECT name FROM exchange)
UNION ALL
SELECT printf('binding %d: there is no queue %s', id, queue) FROM binding
WHERE queue IS NOT NULL AND queue NOT IN (SELECT name FROM queue)
UNION ALL
SELECT printf('binding %d: there is no exchange %s', id, exchange) FROM binding
WHERE exchange IS NOT NULL AND exchange NOT IN (SELECT name FROM exchange);

-- name: messages
SELECT printf('message %d %s', id, what) FROM (
    SELECT id, CASE
        WHEN id < 1 OR first NOT BETWEEN 1 AND id THEN printf('is a copy of %d', first)
        WHEN standing NOT BETWEEN 0 AND 2 THEN printf('stands as %d', standing)
        WHEN priority NOT BETWEEN 0 AND 255 THEN printf('has priority %d', priority)
        WHEN min(published_at, visible_at, expires_at, ttl_ms, deliveries, failures, lease_id) < 0
            THEN 'has a moment or a count below 0'
        WHEN body_id NOT IN (0, first) THEN printf('has body %d, but is a copy of %d', body_id, first)
        WHEN body_id <> 0 AND length(body) <> 0 THEN printf('has a body of its own beside body %d', body_id)
        WHEN body_id = 0 AND length(body) <> size THEN printf('has %d bytes, not %d', length(body), size)
        WHEN standing = 2 AND deaths = '' THEN 'is dead, but nothing says of what'
        WHEN NOT json_valid('{' || properties || '}') THEN 'has properties that are no JSON'
        WHEN deaths <> '' AND NOT json_valid('[' || deaths || ']') THEN 'has deaths that are no JSON'
        END AS what
    FROM message)
WHERE what IS NOT NULL;

-- name: homes
SELECT printf('message %d is in queue %d, which is not there', id, queue_id) FROM live
WHERE queue_id NOT IN (SELECT id FROM queue);

-- name: bodies
SELECT printf('body %d has %d references, but %d messages have it', body.id, refs, coalesce(copies, 0))
FROM body LEFT JOIN (SELECT body_id, count(*) AS copies FROM message WHERE body_id <> 0 GROUP BY body_id)
    ON body_id = body.id
WHERE refs <> coalesce(copies, 0) OR refs = 0
UNION ALL
SELECT CASE WHEN body.id IS NULL THEN printf('message %d has body %d, which is not there', message.id, body_id)
    ELSE printf('message %d has %d bytes, but body %d has %d', message.id, size, body_id, length(body.body)) END
FROM message LEFT JOIN body ON body.id = body_id
WHERE body_id <> 0 AND (body.id IS NULL OR length(body.body) <> size);

-- name: leases
SELECT printf('lease %d is of queue %d, which is not there', id, queue_id) FROM lease
WHERE queue_id NOT IN (SELECT id FROM queue)
UNION ALL
SELECT printf('lease %d names message %d twice', lease_id, message_id) FROM held
GROUP BY lease_id, message_id HAVING count(*) > 1
UNION ALL
SELECT printf('lease %d is of queue %d, but message %d is in queue %d',
              held.lease_id, held.queue_id, message.id, message.queue_id)
FROM held JOIN message ON message.id = message_id WHERE message.queue_id <> held.queue_id
UNION ALL
SELECT printf('lease %d holds nothing', id) FROM lease WHERE id NOT IN (
    SELECT newest.lease_id
    FROM (SELECT message_id, max(lease_id) AS lease_id FROM held GROUP BY message_id) AS newest
    JOIN live ON live.id = newest.message_id
    WHERE newest.lease_id >= live.lease_id + (live.standing <> 1))
UNION ALL
SELECT printf('message %d: lease %d ran out and should settle it still, but is not there', id, lease_id) FROM live
WHERE standing = 1 AND NOT EXISTS (SELECT 1 FROM held WHERE message_id = live.id AND held.lease_id >= live.lease_id);

-- name: idempotency
SELECT printf('record %d %s', id, what) FROM (
    SELECT id, CASE
        WHEN length(fingerprint) <> 16 THEN printf('has a fingerprint of %d bytes', length(fingerprint))
        WHEN NOT json_valid(answer) THEN 'has an answer that is no JSON'
        WHEN scope GLOB 'x:*' AND substr(scope, 3) NOT IN (SELECT name FROM exchange)
            OR scope GLOB 'b:x:*' AND substr(scope, 5) NOT IN (SELECT name FROM exchange)
            OR scope GLOB 'q:*' AND CAST(substr(scope, 3) AS INTEGER) NOT IN (SELECT id FROM queue)
            OR scope GLOB 'b:q:*' AND CAST(substr(scope, 5) AS INTEGER) NOT IN (SELECT id FROM queue)
            THEN printf('is of %s, which is not there', scope)
        WHEN scope <> 't' AND NOT (scope GLOB '[xqr]:*' OR scope GLOB 'b:[xqr]:*') THEN printf('is of %s', scope)
        END AS what
    FROM idempotency)
WHERE what IS NOT NULL;

-- name: reclaim
SELECT printf('reclaim %d is of queue %d, a number not yet given', reclaim.id, queue_id) FROM reclaim, meta
WHERE queue_id >= next_queue
UNION ALL
SELECT printf('reclaim %d removes messages up to %d, a number not yet given', reclaim_id, high) FROM span, meta
WHERE high >= next_message;
