-- The kinds of changes that 0016 has let in: rows of before are looked at without keeping anybody out.

ALTER TABLE change VALIDATE CONSTRAINT change_kind_check;
