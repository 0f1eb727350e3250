-- The kinds and actions that 0016 has let in: rows of before are looked at without keeping anybody out.

ALTER TABLE change VALIDATE CONSTRAINT change_kind_check;
ALTER TABLE change VALIDATE CONSTRAINT change_action_check;
