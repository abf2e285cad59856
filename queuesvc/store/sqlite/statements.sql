-- name: get_meta
SELECT secret, epoch, tag, next_message, next_lease, next_queue, next_binding, latest_at FROM meta;

-- name: get_meta_page
SELECT rootpage FROM sqlite_schema WHERE name = 'meta';

-- name: init_meta
INSERT INTO meta (id, secret, epoch, tag, next_message, next_lease, next_queue, next_binding, latest_at)
VALUES (1, ?, 1, ?, 1, 1, 1, 1, 0);

-- name: put_meta
UPDATE meta SET next_message = ?, next_lease = ?, next_queue = ?, next_binding = ?, latest_at = ? WHERE id = 1;

-- name: set_numbers_aside
UPDATE meta SET next_message = ?, next_lease = ?, next_queue = ?, next_binding = ? WHERE id = 1;

-- name: get_exchanges
SELECT name, settings FROM exchange;

-- name: put_exchange
INSERT INTO exchange (name, settings) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings;

-- name: drop_exchange
DELETE FROM exchange WHERE name = ?;

-- name: get_queues
SELECT id, name, settings,
       published, delivered, acked, nacked, expired, dropped, purged, dead_lettered, moved_in, moved_out
FROM queue;

-- name: put_queue
INSERT INTO queue (id, name, settings) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET settings = excluded.settings;

-- name: put_totals
UPDATE queue SET published = ?, delivered = ?, acked = ?, nacked = ?, expired = ?, dropped = ?, purged = ?,
                 dead_lettered = ?, moved_in = ?, moved_out = ?
WHERE id = ?;

-- name: drop_queue
DELETE FROM queue WHERE id = ?;

-- name: get_bindings
SELECT id, source, queue, exchange, routing_key, match, headers FROM binding ORDER BY id;

-- name: put_binding
INSERT INTO binding (id, source, queue, exchange, routing_key, match, headers) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: drop_binding
DELETE FROM binding WHERE id = ?;

-- name: get_messages
SELECT id, queue_id, priority, size, published_at, visible_at, expires_at, ttl_ms, message_group,
       deliveries, failures, lease_id, standing
FROM message ORDER BY id;

-- name: add_message
INSERT INTO message (id, queue_id, priority, size, published_at, visible_at, expires_at, ttl_ms, message_group,
                     deliveries, failures, lease_id, standing,
                     first, body_id, exchange, routing_key, properties, deaths, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?);

-- name: add_plain
INSERT INTO message (id, queue_id, priority, size, published_at, visible_at, expires_at, ttl_ms, message_group,
                     deliveries, failures, lease_id, standing,
                     first, body_id, exchange, routing_key, properties, deaths, body)
VALUES (?, ?, ?, ?, ?, 0, 0, 0, '', 0, 0, 0, 0, ?, 0, ?, ?, ?, '', ?);

-- name: add_body
INSERT INTO body (id, refs, body) VALUES (?, ?, ?);

-- name: change_message
UPDATE message SET deliveries = ?, failures = ?, lease_id = ?, standing = ?, visible_at = ?, expires_at = ?
WHERE id = ?;

-- name: set_deaths
UPDATE message SET deaths = ? WHERE id = ?;

-- name: get_content
SELECT id, first, published_at, expires_at, exchange, routing_key, properties, deaths,
       CASE body_id WHEN 0 THEN body ELSE (SELECT body.body FROM body WHERE body.id = message.body_id) END
FROM message WHERE id = ?;

-- name: get_contents
SELECT id, first, published_at, expires_at, exchange, routing_key, properties, deaths,
       CASE body_id WHEN 0 THEN body ELSE (SELECT body.body FROM body WHERE body.id = message.body_id) END
FROM message WHERE id IN (SELECT value FROM json_each(?));

-- name: get_heads
SELECT id, first, published_at, expires_at, exchange, routing_key, properties, deaths, x''
FROM message WHERE id IN (SELECT value FROM json_each(?));

-- name: get_copy
SELECT id FROM message WHERE id BETWEEN ? AND ? AND queue_id = ? AND first = ?;

-- name: release_body
UPDATE body SET refs = refs - 1 WHERE id = (SELECT body_id FROM message WHERE id = ?);

-- name: drop_body
DELETE FROM body WHERE refs = 0 AND id = (SELECT body_id FROM message WHERE id = ?);

-- name: delete_messages
DELETE FROM message WHERE id BETWEEN ? AND ?;

-- name: get_leases
SELECT id, queue_id, consumer, until, members, untils FROM lease ORDER BY id;

-- name: put_lease
INSERT OR REPLACE INTO lease (id, queue_id, consumer, until, members, untils) VALUES (?, ?, ?, ?, ?, ?);

-- name: drop_lease
DELETE FROM lease WHERE id = ?;

-- name: get_records
SELECT scope, key, fingerprint, answer, until FROM idempotency ORDER BY id;

-- name: put_record
INSERT OR REPLACE INTO idempotency (scope, key, fingerprint, answer, until) VALUES (?, ?, ?, ?, ?);

-- name: drop_record
DELETE FROM idempotency WHERE scope = ? AND key = ?;

-- name: drop_records
DELETE FROM idempotency WHERE scope = ?;

-- name: add_reclaim
INSERT INTO reclaim (queue_id, next_id, runs) VALUES (?, 0, ?);

-- name: get_reclaims
SELECT queue_id, next_id, runs FROM reclaim;

-- name: next_reclaim
SELECT id, queue_id, next_id, runs FROM reclaim ORDER BY id LIMIT 1;

-- name: reclaim_end
SELECT max(id) FROM (SELECT id FROM message WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?);

-- name: reclaim_refs
UPDATE body SET refs = refs - 1
WHERE id IN (SELECT body_id FROM message WHERE id BETWEEN ? AND ? AND queue_id = ?);

-- name: reclaim_bodies
DELETE FROM body
WHERE refs = 0 AND id IN (SELECT body_id FROM message WHERE id BETWEEN ? AND ? AND queue_id = ?);

-- name: reclaim_messages
DELETE FROM message WHERE id BETWEEN ? AND ? AND queue_id = ?;

-- name: put_reclaim
UPDATE reclaim SET next_id = ? WHERE id = ?;

-- name: drop_reclaim
DELETE FROM reclaim WHERE id = ?;

-- name: get_tokens
SELECT id, name, digest, permissions, created_at, expires_at, last_used_at FROM token;

-- name: put_token
INSERT INTO token (id, name, digest, permissions, created_at, expires_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET last_used_at = excluded.last_used_at;

-- name: drop_token
DELETE FROM token WHERE id = ?;
