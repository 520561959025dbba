#include "store/segments.hpp"

#include "pg/identity.hpp"
#include "pg/transaction.hpp"
#include "store/topics.hpp"

namespace saga::store {

namespace {

constexpr std::array<std::string_view, 4> kParents{"event_v1", "delivery_v1", "outcome_v1", "attempt_v1"};

// Indexes exist on the leaves only: those of a parent that is a member of the extension would break restore.
struct LeafIndex {
  std::string_view parent;
  std::string_view definition;  // after ALTER TABLE leaf ADD, or after CREATE INDEX ON leaf
  bool primary_key;
};
constexpr std::array kIndexes{
    LeafIndex{"event_v1", "(event_id, slot)", true},
    LeafIndex{"event_v1", "(topic_id, partition_number, xid, \"position\")", false},
    LeafIndex{"event_v1", "(correlation_id) WHERE correlation_id IS NOT NULL", false},
    LeafIndex{"delivery_v1", "(subscription_id, partition_number, generation, number)", false},
    LeafIndex{"outcome_v1", "(event_id, slot, subscription_id, number)", true},
    LeafIndex{"attempt_v1", "(event_id, subscription_id)", false}};

constinit pg::Statement kOpenSegment{
    "SELECT segment_id FROM saga.segment WHERE retention = $1 AND closed_at IS NULL LIMIT 1"};
constinit pg::Statement kLockSegments{"LOCK TABLE saga.segment IN SHARE ROW EXCLUSIVE MODE"};
constinit pg::Statement kInsertSegment{
    "INSERT INTO saga.segment (segment_id, retention, opened_at)"
    " VALUES (pg_catalog.nextval('saga.segment_seq'), $1, pg_catalog.clock_timestamp()) RETURNING segment_id"};

constinit pg::Statement kDueForRotation{
    "SELECT s.segment_id, s.retention, EXISTS (SELECT FROM saga.topic t WHERE t.retention = s.retention)"
    "  FROM saga.segment s"
    " WHERE s.closed_at IS NULL"
    "   AND s.opened_at < pg_catalog.clock_timestamp() - greatest(s.retention / 8, interval '1 hour')"
    " ORDER BY s.segment_id"};
constinit pg::Statement kCloseSegment{
    "UPDATE saga.segment SET closed_at = pg_catalog.clock_timestamp() WHERE segment_id = $1"};

constinit pg::Statement kDueForDrop{
    "SELECT segment_id FROM saga.segment WHERE closed_at + retention < pg_catalog.clock_timestamp() ORDER BY segment_id"};
constinit pg::Statement kDeleteSegment{"DELETE FROM saga.segment WHERE segment_id = $1"};
constinit pg::Statement kAllLeaves{
    "SELECT i.inhrelid::pg_catalog.regclass::text FROM pg_catalog.pg_inherits i"
    " WHERE i.inhparent = ANY (ARRAY['saga.event_v1', 'saga.delivery_v1', 'saga.outcome_v1', 'saga.attempt_v1']"
    "                          ::pg_catalog.regclass[]) ORDER BY i.inhrelid"};

std::string qualified_leaf(std::string_view parent, int segment) { return "saga." + leaf_name(parent, segment); }

void create_leaf(std::string_view parent, int segment) {
  const std::string leaf = qualified_leaf(parent, segment);
  const std::string full_parent = "saga." + std::string(parent);
  pg::run_once("CREATE TABLE " + leaf + " (LIKE " + full_parent + " INCLUDING DEFAULTS INCLUDING CONSTRAINTS)");
  pg::run_once("REVOKE ALL ON TABLE " + leaf + " FROM PUBLIC");
  for (const LeafIndex &index : kIndexes) {
    if (index.parent != parent) continue;
    const std::string definition(index.definition);
    pg::run_once(index.primary_key ? "ALTER TABLE " + leaf + " ADD PRIMARY KEY " + definition
                                   : "CREATE INDEX ON " + leaf + " " + definition);
  }
  pg::run_once("ALTER TABLE " + full_parent + " ATTACH PARTITION " + leaf + " FOR VALUES IN (" +
               std::to_string(segment) + ")");
}

void open_segment(const Interval &retention) {
  const int segment = pg::run(kInsertSegment, {pg::param_interval(retention)})[0].i32(1);
  for (const std::string_view parent : kParents) create_leaf(parent, segment);
  config_changed();
}

/// Whether a lane has still to read something there, or a parked event lives there. Transaction numbers are compared
/// within one era only; a lane that moved on to an era has read all of those before.
bool still_needed(int segment, int era) {
  const std::string leaf = qualified_leaf("event_v1", segment);
  const std::string lane =
      leaf +
      " e WHERE e.topic_id = s.topic_id AND (p.partition_number = -1 OR e.partition_number = p.partition_number)";
  return pg::query_once(
             "SELECT EXISTS (SELECT FROM saga.subscription s CROSS JOIN LATERAL ("
             "   SELECT DISTINCT ON (n.partition_number) n.partition_number, n.era,"
             "          CASE WHEN n.window_done THEN n.window_snapshot ELSE n.previous_snapshot END AS seen"
             "     FROM saga.progress_v1 n WHERE n.subscription_id = s.subscription_id"
             "    ORDER BY n.partition_number, n.number DESC) p"
             "  WHERE EXISTS (SELECT FROM " +
                 lane +
                 " AND e.era = p.era AND e.xid >= pg_catalog.pg_snapshot_xmin(p.seen)"
                 "                   AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, p.seen))"
                 "     OR p.era < $1 AND EXISTS (SELECT FROM " +
                 lane +
                 " AND e.era > p.era))"
                 "  OR EXISTS (SELECT FROM saga.parked_v1 q JOIN " +
                 leaf + " e ON e.event_id = q.event_id AND e.slot = q.slot)",
             {pg::param(era)})[0]
      .boolean(1);
}

/// False: somebody uses it now.
bool drop_segment(int segment) {
  try {
    pg::Subtransaction attempt;
    {
      pg::SettingsScope settings;
      pg::run_once("SET LOCAL lock_timeout = '100ms'");
      std::string leaves;
      for (const std::string_view parent : kParents) {
        leaves.append(leaves.empty() ? "" : ", ").append(qualified_leaf(parent, segment));
      }
      pg::run_once("DROP TABLE IF EXISTS " + leaves);
      pg::run(kDeleteSegment, {pg::param(segment)});
    }
    attempt.commit();
    return true;
  } catch (const pg::Error &error) {
    if (error.code() == ERRCODE_LOCK_NOT_AVAILABLE || error.code() == ERRCODE_T_R_DEADLOCK_DETECTED) return false;
    throw;
  }
}

std::vector<int> first_column(const pg::Rows &rows) {
  std::vector<int> values;
  for (std::uint64_t i = 0; i < rows.size(); ++i) values.push_back(rows[i].i32(1));
  return values;
}

}  // namespace

void ensure_segment(const Interval &retention) {
  if (!pg::run(kOpenSegment, {pg::param_interval(retention)}).empty()) return;
  pg::run(kLockSegments, {});
  if (!pg::run(kOpenSegment, {pg::param_interval(retention)}).empty()) return;
  open_segment(retention);
}

bool rotate_segments() {
  if (pg::run(kDueForRotation, {}).empty()) return false;
  pg::run(kLockSegments, {});
  const pg::Rows due = pg::run(kDueForRotation, {});
  config_changed();
  for (std::uint64_t i = 0; i < due.size(); ++i) {
    pg::run(kCloseSegment, {pg::param(due[i].i32(1))});
    if (due[i].boolean(3)) open_segment(*DatumGetIntervalP(due[i].datum(2)));
  }
  return !due.empty();
}

bool drop_segments() {
  bool dropped = false;
  const int era = installation().era;
  for (const int segment : first_column(pg::run(kDueForDrop, {}))) {
    if (still_needed(segment, era)) continue;
    if (drop_segment(segment)) dropped = true;
  }
  if (dropped) config_changed();
  return dropped;
}

void drop_all_segments() {
  const pg::Rows leaves = pg::run(kAllLeaves, {});
  for (std::uint64_t i = 0; i < leaves.size(); ++i) pg::run_once("DROP TABLE " + leaves[i].text(1));
}

}  // namespace saga::store
