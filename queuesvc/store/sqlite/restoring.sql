-- What makes a backup a store with a life of its own. `held` and `live` are of `check/setup.sql`.

-- name: end_leases
UPDATE message SET deliveries = deliveries + (newest > message.lease_id), lease_id = newest, standing = 0
FROM (SELECT message_id, max(lease_id) AS newest FROM held GROUP BY message_id)
WHERE message.id = message_id AND newest >= message.lease_id + (standing <> 1);

-- name: drop_leases
DELETE FROM lease;

-- name: begin_anew
UPDATE meta SET epoch = ?, next_message = next_message + ?, next_lease = next_lease + ?, next_queue = next_queue + ?,
                next_binding = next_binding + ?, latest_at = max(latest_at, ?);

-- name: count_restored
SELECT (SELECT count(*) FROM live), (SELECT count(*) FROM token);
