-- Whoever deletes messages sees to the bodies they share: a trigger looked at
-- every row that went, at the price of the deletion itself, though few share one.
DROP TRIGGER message_deleted;
