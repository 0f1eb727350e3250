-- Reasons of holds come under a new key, too.
GRANT UPDATE (sealed) ON legal_hold TO darkroom_api;
