CREATE TABLE products (id int8 PRIMARY KEY, stock int8 NOT NULL CHECK (stock >= 0)) WITH (fillfactor = 50);
CREATE TABLE reservations (
    id uuid PRIMARY KEY, product int8 NOT NULL, user_id uuid NOT NULL, quantity int4 NOT NULL, deadline int8 NOT NULL
);
CREATE INDEX reservations_by_deadline ON reservations (deadline);
