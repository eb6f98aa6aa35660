-- name: use_launch
-- The request by which a launch token was first used: this one, unless there was one before. Sweeps some expired tokens
-- along, so that the table stays as small as a minute is short.
WITH swept AS (
    DELETE FROM provider_launches WHERE token_id = ANY (ARRAY(
        SELECT token_id FROM provider_launches WHERE expires_at < $4 ORDER BY expires_at LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO provider_launches AS known (token_id, request_id, expires_at) VALUES ($1::uuid, $2, $3)
ON CONFLICT (token_id) DO UPDATE SET request_id = known.request_id
RETURNING request_id;

-- name: keep_report
-- The report of a day; made anew it takes the earlier one's place.
INSERT INTO provider_reports
    (provider, day, asset, debits, debited, credits, credited, rollbacks, rolled_back)
VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7::text::numeric, $8, $9::text::numeric)
ON CONFLICT (provider, day, asset) DO UPDATE SET
    debits = excluded.debits, debited = excluded.debited, credits = excluded.credits, credited = excluded.credited,
    rollbacks = excluded.rollbacks, rolled_back = excluded.rolled_back, made_at = now();

-- name: reports
-- A provider's reports of a day, by asset.
SELECT provider, asset, day, debits, debited::text, credits, credited::text, rollbacks, rolled_back::text
FROM provider_reports WHERE provider = $1 AND day = $2 ORDER BY asset;
