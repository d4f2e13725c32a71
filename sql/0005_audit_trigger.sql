-- 0.1.0: the trigger, the foreign keys and the key's default, where the engine's tables are there.

SELECT attach_step_result_audit();
