#include "store/maintenance.hpp"

#include "pg/identity.hpp"
#include "pg/settings.hpp"
#include "store/installation.hpp"
#include "store/segments.hpp"

namespace saga::store {

namespace {

// The newest row of a lane is its cursor, and stays. What is left of unsubscribed groups goes too: a worker may
// have committed its last batch just after the subscription was deleted.
constinit pg::Statement kDeleteProgress{
    "DELETE FROM saga.progress_v1 p USING (SELECT subscription_id, partition_number, max(number) AS newest"
    "   FROM saga.progress_v1 GROUP BY subscription_id, partition_number) n"
    " WHERE p.subscription_id = n.subscription_id AND p.partition_number = n.partition_number"
    "   AND (p.number < n.newest"
    "        OR NOT EXISTS (SELECT FROM saga.subscription s WHERE s.subscription_id = p.subscription_id))"};
constinit pg::Statement kDeleteParked{
    "DELETE FROM saga.parked_v1 p"
    " WHERE NOT EXISTS (SELECT FROM saga.subscription s WHERE s.subscription_id = p.subscription_id)"};

constinit pg::Statement kDeleteIds{
    "DELETE FROM saga.idempotency_v1"
    " WHERE created_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1)"};

// One that holds its key can still be replayed, however old it is.
constinit pg::Statement kDeleteDeadLetters{
    "DELETE FROM saga.dead_letter_v1 d"
    " WHERE coalesce(d.settled_at, d.dead_at) < pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1)"
    "   AND (d.settled_at IS NOT NULL OR NOT EXISTS (SELECT FROM saga.parked_v1 p"
    "          WHERE p.event_id = d.event_id AND p.subscription_id = d.subscription_id))"};

// After an hour one tick of ten seconds is enough to cut a backlog or to find a time.
constinit pg::Statement kDeleteTicks{
    "DELETE FROM saga.tick_v1 t USING (SELECT ctid AS place_on_disk, pg_catalog.row_number() OVER ("
    "     PARTITION BY era, pg_catalog.date_bin('10 s', taken_at, TIMESTAMPTZ '2000-01-01 00:00:00Z')"
    "     ORDER BY taken_at) AS place"
    "   FROM saga.tick_v1 WHERE taken_at < pg_catalog.clock_timestamp() - interval '1 hour') r"
    " WHERE t.ctid = r.place_on_disk"
    "   AND (r.place > 1 OR t.taken_at < (SELECT min(opened_at) FROM saga.segment))"};

constinit pg::Statement kDeleteAudit{
    "DELETE FROM saga.audit_v1 WHERE at < pg_catalog.clock_timestamp() - interval '90 days'"};

}  // namespace

bool maintain(MaintenanceStep step) {
  pg::OwnerScope owner;
  pg::Spi spi;
  if (!identity_matches()) return false;
  switch (step) {
    case MaintenanceStep::Progress:
      pg::run(kDeleteProgress, {});
      pg::run(kDeleteParked, {});
      return false;
    case MaintenanceStep::Ids:
      pg::run(kDeleteIds, {pg::param(pg::settings::idempotency_retention_days)});
      return false;
    case MaintenanceStep::DeadLetters:
      pg::run(kDeleteDeadLetters, {pg::param(pg::settings::dead_letter_retention_days)});
      return false;
    case MaintenanceStep::Ticks:
      pg::run(kDeleteTicks, {});
      return false;
    case MaintenanceStep::Audit:
      pg::run(kDeleteAudit, {});
      return false;
    case MaintenanceStep::RotateSegments:
      return rotate_segments();
    case MaintenanceStep::DropSegments:
      break;
  }
  return drop_segments();
}

bool maintain() {
  bool changed = false;
  for (const MaintenanceStep step : kMaintenanceSteps) changed = maintain(step) || changed;
  return changed;
}

}  // namespace saga::store
