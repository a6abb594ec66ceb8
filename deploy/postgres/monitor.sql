-- The monitor's database, beside what pg_auto_failover puts there; run at every start.
-- docs/decisions/0022: a keeper's report that arrives with a switchover is judged by the role that its
-- node had before it. The old primary would be told to go on alone, without its standby, while that
-- is being promoted: what it acknowledges from then on is lost. Here such a report fails; the keeper
-- sends the next one within a second, and is told to give its role up.
CREATE OR REPLACE FUNCTION public.refuse_a_second_primary() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog
AS $$
BEGIN
    IF EXISTS (SELECT FROM pgautofailover.node AS other
                WHERE other.formationid = new.formationid AND other.groupid = new.groupid
                  AND other.nodeid <> new.nodeid
                  AND other.goalstate IN ('prepare_promotion', 'stop_replication'))
    THEN
        RAISE EXCEPTION 'node % is to be % no more: another one is being promoted', new.nodename, new.goalstate;
    END IF;
    RETURN new;
END
$$;

CREATE OR REPLACE TRIGGER refuse_a_second_primary
    BEFORE UPDATE OF goalstate ON pgautofailover.node FOR EACH ROW
    WHEN (old.goalstate IN ('draining', 'demote_timeout', 'demoted', 'prepare_maintenance', 'maintenance')
      AND new.goalstate IN ('primary', 'wait_primary', 'join_primary', 'apply_settings'))
    EXECUTE FUNCTION public.refuse_a_second_primary();

-- docs/decisions/0025: a report locks its node's row and then the group; an operator's command (a
-- switchover, maintenance) the group and then the rows. When they meet, it is the report that gives
-- up, well before either looks for a deadlock (deadlock_timeout, 1 s): the keeper sends another one.
ALTER FUNCTION pgautofailover.node_active SET lock_timeout = '300ms';

-- A keeper reports by its node's number. Those of a monitor that lost its data begin anew at 1: a keeper of
-- before would be taken for another node, and told to be what that one is to be. No number is given twice.
DO $$
DECLARE
    first bigint := extract(epoch FROM clock_timestamp())::bigint - 1700000000;
BEGIN
    IF EXISTS (SELECT FROM pg_sequence
                WHERE seqrelid = 'pgautofailover.node_nodeid_seq'::regclass AND seqstart = 1)
    THEN
        EXECUTE format('ALTER SEQUENCE pgautofailover.node_nodeid_seq START WITH %s RESTART', first);
    END IF;
END
$$;
