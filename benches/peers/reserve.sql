-- A reserve as a shop makes it with PostgreSQL: one statement. The same id has one answer, stock is taken if there is any, a
-- record is kept, and there is an index of when it falls due. No row means sold out.
-- $1 reservation, $2 product, $3 user, $4 quantity, $5 how long it is held in ms.
WITH known AS (
    SELECT product, user_id, quantity, deadline FROM reservations WHERE id = $1
), taken AS (
    UPDATE products SET stock = stock - $4 WHERE id = $2 AND stock >= $4 AND NOT EXISTS (SELECT 1 FROM known) RETURNING id
), made AS (
    INSERT INTO reservations (id, product, user_id, quantity, deadline)
    SELECT $1, id, $3, $4, (extract(epoch FROM clock_timestamp()) * 1000)::int8 + $5 FROM taken
    RETURNING product, user_id, quantity, deadline
)
SELECT product, user_id, quantity, deadline FROM made UNION ALL SELECT product, user_id, quantity, deadline FROM known
